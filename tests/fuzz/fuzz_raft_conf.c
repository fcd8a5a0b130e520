/* Raft configurations: what is accepted is what libraft would have encoded. */
#include "base/limits.h"
#include "tests/fuzz/fuzz.h"
#include "wire/raft_message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct raft_configuration conf;
    struct raft_buffer again;

    if (raft_conf_decode(data, size, &conf) != 0) {
        CHECK(conf.n == 0 && conf.servers == NULL);
        return 0;
    }
    CHECK(conf.n > 0 && conf.n <= NODES_MAX);
    CHECK(raft_configuration_encode(&conf, &again) == 0);
    CHECK(again.len == size);
    CHECK(memcmp(again.base, data, size - 7) == 0); /* padding is not set */
    raft_free(again.base);
    raft_configuration_close(&conf);
    return 0;
}
