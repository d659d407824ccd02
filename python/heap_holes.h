// What lies free between the objects of an import, in Python's heap and in malloc's, is taken, so
// that what workers allocate comes from fresh memory: in gaps all over the pages that they share
// with the zygote, a request's few objects give each worker a copy of each of these pages.
#pragma once

#include "common/result.h"

namespace green::python {

/// In the zygote, before forks, on its only thread, with the GIL. What it takes is in memory
/// already, and is never given back. Having taken nothing: an error where /proc does not tell what
/// is in memory; std::bad_alloc.
Result<void> fill_heap_holes();

}  // namespace green::python
