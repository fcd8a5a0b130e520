/* The dashboard: pane/page.html as bytes (made at build time). */
#ifndef PANE_PAGE_H
#define PANE_PAGE_H

#include <stddef.h>

extern const unsigned char page_html[];
extern const size_t page_html_len;

#endif
