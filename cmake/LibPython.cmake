# green_libpython: the CPython that gets embedded. Linked in whole, position-dependent, as Debian links
# /usr/bin/python3 itself: calls inside the interpreter then need no indirection, which is a fifth of a
# Flask request's CPU time. Extension modules find the C API in the program.
option(GREEN_STATIC_PYTHON "Link libpython into green-worker (faster), where there is a static one" ON)

add_library(green_libpython INTERFACE)
set(green_static_python OFF)
if(GREEN_STATIC_PYTHON AND NOT GREEN_SANITIZE AND NOT GREEN_FUZZ)
  execute_process(
    COMMAND ${Python3_EXECUTABLE} -I -c "import sysconfig
names = 'LIBPL', 'LIBRARY', 'LIBS', 'SYSLIBS', 'MODLIBS'
place, library, *others = (sysconfig.get_config_var(name) or '' for name in names)
print(place + '/' + library, *dict.fromkeys(' '.join(others).split()), sep=';', end='')"
    OUTPUT_VARIABLE green_libpython_parts COMMAND_ERROR_IS_FATAL ANY)
  list(POP_FRONT green_libpython_parts green_libpython_archive)
  if(EXISTS ${green_libpython_archive})
    set(green_static_python ON)
  else()
    message(STATUS "No static libpython: ${green_libpython_archive} does not exist")
  endif()
endif()

if(green_static_python)
  # Among the libraries: there it comes after CMake's own -pie.
  target_link_libraries(green_libpython INTERFACE pybind11::pybind11 -no-pie
    "$<LINK_LIBRARY:WHOLE_ARCHIVE,${green_libpython_archive}>" ${green_libpython_parts})
  target_link_options(green_libpython INTERFACE -Wl,--export-dynamic)
else()
  target_link_libraries(green_libpython INTERFACE pybind11::embed)
endif()
