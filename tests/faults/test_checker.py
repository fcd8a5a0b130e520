"""The checker accepts what a faultless cluster does, and rejects every history
that was tampered with, for the right reason."""

import copy
import math
import unittest

import checker
import history
import verdict
from fake_cluster import FakeCluster
from history import FAIL, INFO, OK
from workloads import WORKLOADS


class Tampering(unittest.TestCase):
    """A history of `workload`, ready to be tampered with: self.ops (all),
    self.final."""

    workload, damage = "", False

    @classmethod
    def setUpClass(cls):
        if cls.workload:
            cls.cluster = FakeCluster(cls.workload, seed=7)

    def setUp(self):
        self.ops = [op for op in copy.deepcopy(self.cluster.operations())
                    if op.name != "damage" or self.damage]
        self.final = checker.read_state(self.workload, self.cluster.main)
        self.by_id = {op.id: op for op in self.ops}

    def find(self, *names, type_=OK, where=lambda op: True, skip=20):
        """An operation in the middle of the history."""
        found = [op for op in self.ops if op.name in names and op.type == type_
                 and where(op)]
        self.assertGreater(len(found), skip, names)
        return found[len(found) // 2]

    def earlier(self, op, *names, where=lambda op: True):
        """The last one that had ended long before `op` began."""
        found = [o for o in self.ops if o.name in names and o.type == OK
                 and o.end < op.start - 1 and where(o)]
        self.assertTrue(found)
        return found[-1]

    def verdict(self):
        return checker.check(self.workload, self.ops, self.final)

    def assertRejected(self, kind):
        found = self.verdict()
        self.assertIn(kind, found.counts, found.texts[:5])


class Accepted(unittest.TestCase):
    def test_a_faultless_cluster_is_accepted(self):
        for workload in WORKLOADS:
            for seed in range(5):
                cluster = FakeCluster(workload, seed)
                final = checker.read_state(workload, cluster.main)
                found = checker.check(workload, cluster.operations(), final)
                self.assertTrue(found, (workload, seed, found.texts[:5]))
                self.assertEqual(found.undecided, 0)

    def test_its_histories_hold_every_operation_and_outcome(self):
        for name, workload in WORKLOADS.items():
            ops = FakeCluster(name, 1, count=700).operations()
            self.assertEqual({op.name for op in ops}, set(workload.MIX))
            self.assertEqual({op.type for op in ops}, {OK, FAIL, INFO})


class BankTampering(Tampering):
    workload = "bank"

    def setUp(self):
        super().setUp()
        self.log = self.final["log"]

    def place(self, op):
        return [row[1] for row in self.log].index(op.id)

    def settle(self):
        """Final balances that fit the log, so that only the log is wrong."""
        self.final["balances"] = list(checker.replay(self.log)[-1])

    def test_a_lost_last_transfer(self):
        while self.by_id[self.log.pop()[1]].type != OK:
            pass
        self.settle()
        self.assertRejected(verdict.LOST)

    def test_a_lost_transfer_in_the_middle(self):
        place = self.place(self.find("transfer"))
        del self.log[place]
        self.assertRejected(verdict.LOST)
        self.log[place:] = [(row[0] - 1, *row[1:]) for row in self.log[place:]]
        self.settle()
        self.assertRejected(verdict.LOST)

    def test_a_failed_transfer_that_is_there(self):
        self.find("transfer").type = FAIL
        self.assertRejected(verdict.VISIBLE)

    def test_a_rolled_back_transfer_that_is_there(self):
        op = self.find("give_up", type_=FAIL, skip=3)
        self.log.append((len(self.log) + 1, op.id, op.args["source"],
                         op.args["target"], op.args["amount"]))
        self.settle()
        self.assertRejected(verdict.VISIBLE)

    def test_a_transfer_that_counts_twice(self):
        row = self.log[self.place(self.find("transfer"))]
        self.log.append((len(self.log) + 1, *row[1:]))
        self.settle()
        self.assertRejected(verdict.INVENTED)

    def test_a_transfer_that_nobody_made(self):
        self.log.append((len(self.log) + 1, "nobody:1", 1, 2, 5))
        self.settle()
        self.assertRejected(verdict.INVENTED)

    def test_another_amount_than_asked(self):
        place = self.place(self.find("transfer"))
        row = self.log[place]
        self.log[place] = (*row[:4], row[4] + 1)
        self.assertRejected(verdict.INVENTED)

    def test_a_wrong_total(self):
        self.final["balances"][0] += 1
        self.assertRejected(verdict.STATE)

    def test_a_wrong_total_in_a_read(self):
        self.find("local").value["balances"][3] -= 1
        self.assertRejected(verdict.STATE)

    def test_balances_of_another_version(self):
        read = self.find("local", where=lambda op: op.value["v"] > 3)
        read.value["v"] -= 1
        self.assertRejected(verdict.STATE)

    def test_a_version_that_is_gone(self):
        self.find("local").value["v"] = len(self.log) + 1
        self.assertRejected(verdict.STATE)

    def test_a_stale_strict_read(self):
        read = self.find("strict")
        read.value = self.earlier(read, "strict").value
        self.assertRejected(verdict.STALE)

    def test_a_local_read_that_goes_backwards(self):
        read = self.find("local")
        read.value = self.earlier(
            read, "local", where=lambda op: op.node == read.node).value
        self.assertRejected(verdict.BACKWARDS)

    def test_an_old_local_read_is_fine_only_on_another_node(self):
        old = {"v": 0, "balances": [100] * 8}
        write = history.Operation("a", 1, 1, "transfer", {
            "source": 1, "target": 2, "amount": 5, "pad": 0}, 0, 1, OK, old)
        read = history.Operation("b", 2, 1, "local", {}, 5, 6, OK, old)
        self.ops = [write, read]
        self.log[:] = [(1, "a:1", 1, 2, 5)]
        self.settle()
        self.assertTrue(self.verdict())
        read.node = 1
        self.assertRejected(verdict.BACKWARDS)

    def test_a_read_of_the_future(self):
        read = self.find("local")
        later = [op for op in self.ops if op.name == "transfer"
                 and op.type == OK and op.start > read.end + 1][0]
        read.value = copy.deepcopy(later.value)
        read.value["v"] = self.place(later) + 1
        read.value["balances"] = list(
            checker.replay(self.log)[read.value["v"]])
        self.assertRejected(verdict.ORDER)

    def test_a_lost_update(self):
        op = self.find("transfer", where=lambda op: op.value["v"] > 3)
        op.value["v"] -= 1
        op.value["balances"] = list(checker.replay(self.log)[op.value["v"]])
        self.assertRejected(verdict.UPDATE)

    def test_transfers_in_another_order(self):
        a = self.find("transfer")
        b = self.earlier(a, "transfer")
        i, j = self.place(a), self.place(b)
        self.log[i], self.log[j] = ((self.log[i][0], *self.log[j][1:]),
                                    (self.log[j][0], *self.log[i][1:]))
        self.settle()
        self.assertRejected(verdict.ORDER)

    def test_a_position_that_goes_backwards(self):
        op = self.find("transfer")
        op.value["pos"] -= 50
        self.assertRejected(verdict.POSITION)

    def test_two_transfers_at_one_position(self):
        op = self.find("transfer")
        op.value["pos"] = self.earlier(op, "transfer").value["pos"]
        self.assertRejected(verdict.POSITION)


class ListTampering(Tampering):
    workload = "list"

    def setUp(self):
        super().setUp()
        self.lists = self.final["lists"]

    def test_a_lost_append(self):
        op = self.find("append")
        self.lists[op.args["key"]].remove(op.id)
        self.assertRejected(verdict.LOST)

    def test_half_of_an_append_to_two(self):
        op = self.find("append_two")
        self.lists[op.args["keys"][0]].remove(op.id)
        self.assertRejected(verdict.LOST)

    def test_half_of_an_append_of_unknown_outcome(self):
        op = self.find("append_two")
        op.type, op.end = INFO, math.inf
        self.lists[op.args["keys"][0]].remove(op.id)
        self.assertRejected(verdict.STATE)

    def test_a_failed_append_that_is_there(self):
        self.find("append").type = FAIL
        self.assertRejected(verdict.VISIBLE)

    def test_an_element_twice(self):
        op = self.find("append")
        self.lists[op.args["key"]].append(op.id)
        self.assertRejected(verdict.INVENTED)

    def test_an_element_that_nobody_appended(self):
        next(iter(self.lists.values())).append("nobody:9")
        self.assertRejected(verdict.INVENTED)

    def test_an_element_in_the_wrong_list(self):
        op = self.find("append")
        self.lists[op.args["key"]].remove(op.id)
        self.lists[op.args["key"] ^ 1].append(op.id)
        self.assertRejected(verdict.INVENTED)

    def test_appends_in_another_order(self):
        key, items = max(self.lists.items(), key=lambda kv: len(kv[1]))
        for i, op_id in enumerate(items):
            for j in range(i + 1, len(items)):
                if self.by_id[op_id].end < self.by_id[items[j]].start:
                    items[i], items[j] = items[j], items[i]
                    self.assertRejected(verdict.ORDER)
                    return
        self.fail("no two appends in a row")

    def test_a_read_in_another_order(self):
        read = self.find("local", where=lambda op: any(
            len(items) > 1 for items in op.value.values()))
        items = max(read.value.values(), key=len)
        items[0], items[1] = items[1], items[0]
        self.assertRejected(verdict.STATE)

    def test_a_read_of_half_an_append_to_two(self):
        read = self.find("strict", where=lambda op: op.value)
        for items in read.value.values():
            if self.by_id[items[-1]].name == "append_two":
                items.pop()
                self.assertRejected(verdict.STATE)
                return
        self.skipTest("no such read")

    def test_a_stale_strict_read(self):
        read = self.find("strict", where=lambda op: any(
            self.by_id[i[-1]].end < op.start for i in op.value.values()))
        for items in read.value.values():
            if self.by_id[items[-1]].end < read.start:
                items.pop()
                break
        self.assertRejected(verdict.STALE)

    def test_a_local_read_that_goes_backwards(self):
        reads = {}
        for op in self.ops:
            if op.name != "local" or op.type != OK:
                continue
            key = op.node, op.args["first"]
            before = reads.setdefault(key, op)
            if (before.end < op.start and before.value
                    and before.value != op.value):
                op.value = {}
                self.assertRejected(verdict.BACKWARDS)
                return
        self.fail("no two such reads")

    def test_a_failed_append_in_a_read(self):
        read = self.find("local", where=lambda op: op.value)
        self.by_id[next(iter(read.value.values()))[0]].type = FAIL
        self.assertRejected(verdict.VISIBLE)

    def test_a_lost_update(self):
        op = self.find("append_read", skip=10,
                       where=lambda op: op.value.get(str(op.args["key"])))
        op.value[str(op.args["key"])].pop()
        self.assertRejected(verdict.UPDATE)

    def test_reads_that_disagree_on_the_order(self):
        """One saw a without b, the other b without a."""
        ops = [history.Operation(p, node, 1, name, args, start, end, OK, value)
               for p, node, name, args, start, end, value in [
                   ("a", 1, "append", {"key": 0}, 0, 9, None),
                   ("b", 2, "append", {"key": 1}, 0, 9, None),
                   ("c", 1, "local", {"first": 0}, 5, 6, {"0": ["a:1"]}),
                   ("d", 2, "local", {"first": 0}, 5, 6, {"1": ["b:1"]})]]
        self.ops = ops
        self.final = {"lists": {0: ["a:1"], 1: ["b:1"]}}
        self.assertRejected(verdict.STATE)


class RegisterTampering(Tampering):
    workload = "register"

    def final_of(self, key):
        return self.final["registers"][key]

    def test_a_lost_write(self):
        key, (value, version) = max(self.final["registers"].items(),
                                    key=lambda item: item[1][1])
        makers = {s.version: s.op.id for s in checker.register_sights(
            op for op in self.ops if op.args["key"] == key
            and op.type == OK) if s.made}
        self.final["registers"][key] = (makers[version - 1], version - 1)
        self.assertRejected(verdict.LOST)

    def test_a_register_that_is_gone(self):
        del self.final["registers"][self.find("write").args["key"]]
        self.assertRejected(verdict.LOST)

    def test_a_failed_write_that_is_there(self):
        for value, _ in self.final["registers"].values():
            self.by_id[value].type = FAIL
        self.assertRejected(verdict.VISIBLE)

    def test_a_failed_write_that_was_read(self):
        read = self.find("local", where=lambda op: op.value["version"])
        self.by_id[read.value["value"]].type = FAIL
        self.assertRejected(verdict.VISIBLE)

    def test_a_swap_that_was_refused_and_is_there(self):
        read = {op.value["value"] for op in self.ops if op.type == OK
                and op.name in ("local", "strict")}
        op = self.find("cas", where=lambda op: op.value["swapped"]
                       and op.id in read, skip=1)
        op.value["swapped"] = False
        self.assertRejected(verdict.VISIBLE)

    def test_a_value_that_nobody_wrote(self):
        self.find("local").value["value"] = "nobody:3"
        self.assertRejected(verdict.INVENTED)

    def test_a_version_that_nobody_made(self):
        key, (value, version) = next(iter(self.final["registers"].items()))
        self.final["registers"][key] = (value, version + 20)
        self.assertRejected(verdict.INVENTED)

    def test_two_writes_that_made_one_version(self):
        op = self.find("write", where=lambda op: op.value["version"] > 1)
        op.value["version"] -= 1
        self.assertRejected(verdict.UPDATE)

    def stale(self, read, name):
        """Make a read return what an earlier one did; with its version or as
        if it were the newest."""
        old = self.earlier(read, "strict", "cas", "write", where=lambda op:
                           op.args["key"] == read.args["key"]
                           and op.value["version"] < read.value["version"] - 2)
        read.value = dict(read.value, value=old.value["value"])
        if name == "honest":
            read.value["version"] = old.value["version"]

    def old_enough(self, op):
        return any(o.type == OK and o.args["key"] == op.args["key"]
                   and o.name in ("strict", "cas", "write")
                   and o.end < op.start - 1
                   and o.value["version"] < op.value["version"] - 2
                   for o in self.ops)

    def test_a_stale_strict_read(self):
        self.stale(self.find("strict", where=self.old_enough, skip=5),
                   "honest")
        self.assertRejected(verdict.STALE)

    def test_a_stale_strict_read_that_lies_about_its_version(self):
        self.stale(self.find("strict", where=self.old_enough, skip=5), "lying")
        self.assertRejected(verdict.LINEAR)

    def test_a_local_read_that_goes_backwards(self):
        for read in self.ops:
            if read.name != "local" or read.type != OK:
                continue
            known = [op for op in self.ops if op.type == OK
                     and op.node == read.node and op.end < read.start
                     and op.args["key"] == read.args["key"]
                     and op.value["version"] > 0]
            if known:
                read.value = {"value": None, "version": 0}
                self.assertRejected(verdict.BACKWARDS)
                return
        self.fail("no such read")

    def test_a_swap_of_another_value(self):
        op = self.find("cas", where=lambda op: op.value["swapped"]
                       and op.value["version"] > 1)
        op.value["value"] = self.find("write").id
        self.assertRejected(verdict.LINEAR)


class SetTampering(Tampering):
    workload = "set"

    def setUp(self):
        super().setUp()
        self.items = self.final["items"]

    def test_a_lost_insert(self):
        del self.items[self.find("insert").id]
        self.assertRejected(verdict.LOST)

    def test_a_failed_insert_that_is_there(self):
        self.find("several").type = FAIL
        self.assertRejected(verdict.VISIBLE)

    def test_a_rolled_back_insert_that_is_there(self):
        op = self.find("give_up", type_=FAIL, skip=3)
        self.items[op.id] = op.args["parts"]
        self.assertRejected(verdict.VISIBLE)

    def test_a_part_of_an_insert(self):
        self.items[self.find("several").id] -= 1
        self.assertRejected(verdict.STATE)

    def test_a_part_of_an_insert_in_a_read(self):
        for read in self.ops:
            if read.type == OK and read.name == "local":
                for op_id, rows in read.value.items():
                    if rows > 1:
                        read.value[op_id] -= 1
                        self.assertRejected(verdict.STATE)
                        return
        self.fail("no such read")

    def test_more_rows_than_inserted(self):
        self.items[self.find("insert").id] += 1
        self.assertRejected(verdict.INVENTED)

    def test_an_element_that_nobody_inserted(self):
        self.items["nobody:4"] = 1
        self.assertRejected(verdict.INVENTED)

    def test_a_read_of_what_is_gone(self):
        read = self.find("local", where=lambda op: op.value)
        op = self.by_id[next(iter(read.value))]
        op.type, op.end = INFO, math.inf
        del self.items[op.id]
        self.assertRejected(verdict.STATE)

    def without_known(self, name):
        for read in self.ops:
            if read.type != OK or read.name != name:
                continue
            for op_id in read.value:
                op = self.by_id[op_id]
                if op.type == OK and op.end < read.start and \
                        op.node == read.node:
                    del read.value[op_id]
                    return
        self.fail("no such read")

    def test_a_stale_strict_read(self):
        self.without_known("strict")
        self.assertRejected(verdict.STALE)

    def test_a_local_read_that_goes_backwards(self):
        self.without_known("local")
        self.assertRejected(verdict.BACKWARDS)

    def test_a_read_of_the_future(self):
        read = self.find("local", where=lambda op: op.value)
        op = self.by_id[next(iter(read.value))]
        op.start, op.end = read.end + 1, read.end + 2
        self.assertRejected(verdict.ORDER)


class Damage(Tampering):
    workload, damage = "bank", True

    def test_damage_that_a_reader_saw(self):
        self.find("damage", skip=2).value = ["row 3 missing from index"]
        self.assertRejected(verdict.DAMAGE)
