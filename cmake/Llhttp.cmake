# llhttp >= 9.2.1 in strict mode.
set(_sdist ${CMAKE_BINARY_DIR}/_deps/httptools-0.9.0)
if(NOT EXISTS ${_sdist}/vendor/llhttp/include/llhttp.h)
  execute_process(COMMAND ${Python3_EXECUTABLE} -m pip download --quiet --no-deps --no-binary :all:
    -d ${CMAKE_BINARY_DIR}/_deps httptools==0.9.0 COMMAND_ERROR_IS_FATAL ANY)
  file(ARCHIVE_EXTRACT INPUT ${CMAKE_BINARY_DIR}/_deps/httptools-0.9.0.tar.gz DESTINATION ${CMAKE_BINARY_DIR}/_deps)
endif()
add_library(llhttp STATIC ${_sdist}/vendor/llhttp/src/api.c ${_sdist}/vendor/llhttp/src/http.c ${_sdist}/vendor/llhttp/src/llhttp.c)
target_include_directories(llhttp SYSTEM PUBLIC ${_sdist}/vendor/llhttp/include)
target_compile_options(llhttp PRIVATE -O2)
