/* What the parts of the injected shared object share. */
#ifndef CONFORMANCE_INJECT_H
#define CONFORMANCE_INJECT_H
#include "sqlite3ext.h"

/* Registers the VFS "broken" over `base`, with one method broken; NULL for a name that it does not know. */
sqlite3_vfs *conformance_broken(sqlite3_vfs *base, const char *method);

/* From now on every file that is opened through `vfs` is counted, under its name. */
void conformance_count(sqlite3_vfs *vfs);

/* Adds what the Tcl suite expects of the unix VFS alone. */
void conformance_instruments(sqlite3_vfs *vfs, int **instruments);

#endif
