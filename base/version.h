/* The version that the node and the command line tell. */
#ifndef BASE_VERSION_H
#define BASE_VERSION_H

#define MARMOT_VERSION "0.1.0"

#endif
