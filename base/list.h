/* An intrusive doubly linked list: FIFO queues without allocation.
 *
 * A head is a link that points to itself when the list is empty. A link that
 * is in no list points to itself too, so list_remove is always allowed. */
#ifndef BASE_LIST_H
#define BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct list {
    struct list *next, *prev;
};

#define LIST_ENTRY(link, type, member) \
    ((type *)(void *)((char *)(link)-offsetof(type, member)))

static inline void list_init(struct list *l)
{
    l->next = l->prev = l;
}

static inline bool list_empty(const struct list *head)
{
    return head->next == head;
}

static inline void list_push(struct list *head, struct list *link)
{
    link->prev = head->prev;
    link->next = head;
    head->prev->next = link;
    head->prev = link;
}

static inline void list_push_front(struct list *head, struct list *link)
{
    list_push(head->next, link);
}

static inline void list_remove(struct list *link)
{
    link->prev->next = link->next;
    link->next->prev = link->prev;
    list_init(link);
}

/* The first link, still in the list; NULL if there is none. */
static inline struct list *list_first(const struct list *head)
{
    return list_empty(head) ? NULL : head->next;
}

/* Take the first link out of the list; NULL if there is none. */
static inline struct list *list_pop(struct list *head)
{
    struct list *link = list_first(head);
    if (link != NULL) {
        list_remove(link);
    }
    return link;
}

#endif
