// Python types of our own whose instances hold C++ state: made once a process. With the GIL.
#pragma once

#include <Python.h>

#include <cstddef>

namespace green::python {

/// A type whose instances are called by the vectorcall at that offset. Null with an exception set.
PyTypeObject* make_callable_type(const char* name, std::size_t size, std::size_t vectorcall_offset,
                                 destructor dealloc);
/// A type whose instances are awaited, and are coroutines to asyncio: `step` as am_send. Null with
/// an exception set.
PyTypeObject* make_coroutine_type(const char* name, std::size_t size, sendfunc step,
                                  PyCFunction throw_method, PyCFunction close_method,
                                  destructor dealloc, getattrofunc getattr = nullptr);
/// For `throw_method`: raises what coroutine.throw(…) was called with.
void raise_thrown(PyObject* arguments);
/// Frees an instance of such a type.
void free_instance(PyObject* object);

}  // namespace green::python
