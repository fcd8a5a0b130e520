#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/list.h"

struct item {
    int number;
    struct list link;
};

static int pop_number(struct list *head)
{
    struct list *link = list_pop(head);

    return link ? LIST_ENTRY(link, struct item, link)->number : -1;
}

static void a_list_starts_empty(void **state)
{
    struct list head;

    (void)state;
    list_init(&head);
    assert_true(list_empty(&head));
    assert_null(list_first(&head));
    assert_null(list_pop(&head));
}

static void links_leave_in_the_order_they_came(void **state)
{
    struct item items[3] = {{.number = 1}, {.number = 2}, {.number = 3}};
    struct list head;

    (void)state;
    list_init(&head);
    for (int i = 0; i < 3; i++) {
        list_push(&head, &items[i].link);
    }
    assert_ptr_equal(list_first(&head), &items[0].link);
    assert_int_equal(pop_number(&head), 1);
    assert_int_equal(pop_number(&head), 2);
    assert_int_equal(pop_number(&head), 3);
    assert_true(list_empty(&head));
}

static void a_link_pushed_to_the_front_leaves_first(void **state)
{
    struct item items[3] = {{.number = 1}, {.number = 2}, {.number = 3}};
    struct list head;

    (void)state;
    list_init(&head);
    list_push(&head, &items[0].link);
    list_push(&head, &items[1].link);
    list_push_front(&head, &items[2].link);
    assert_int_equal(pop_number(&head), 3);
    assert_int_equal(pop_number(&head), 1);
    assert_int_equal(pop_number(&head), 2);
}

static void a_link_in_the_middle_can_be_removed(void **state)
{
    struct item items[3] = {{.number = 1}, {.number = 2}, {.number = 3}};
    struct list head;

    (void)state;
    list_init(&head);
    for (int i = 0; i < 3; i++) {
        list_push(&head, &items[i].link);
    }
    list_remove(&items[1].link);
    assert_int_equal(pop_number(&head), 1);
    assert_int_equal(pop_number(&head), 3);
    assert_true(list_empty(&head));
}

static void removing_a_link_twice_is_harmless(void **state)
{
    struct item items[2] = {{.number = 1}, {.number = 2}};
    struct list head;

    (void)state;
    list_init(&head);
    list_push(&head, &items[0].link);
    list_push(&head, &items[1].link);
    list_remove(&items[0].link);
    list_remove(&items[0].link);
    assert_int_equal(pop_number(&head), 2);
    assert_true(list_empty(&head));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_list_starts_empty),
        cmocka_unit_test(links_leave_in_the_order_they_came),
        cmocka_unit_test(a_link_pushed_to_the_front_leaves_first),
        cmocka_unit_test(a_link_in_the_middle_can_be_removed),
        cmocka_unit_test(removing_a_link_twice_is_harmless),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
