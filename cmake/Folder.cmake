# One library a folder: green_folder(green_http) makes it of every .cpp beside the calling CMakeLists.txt
# except main.cpp. A file in a folder belongs to the folder's target, so none can be left out.
function(green_folder name)
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.cpp)
  list(FILTER sources EXCLUDE REGEX "/main\\.cpp$")
  add_library(${name} STATIC ${sources})
  target_include_directories(${name} PUBLIC ${CMAKE_SOURCE_DIR})
  green_warnings(${name})
endfunction()

# A program: main.cpp beside the calling CMakeLists.txt, and the libraries it is made of.
function(green_program name)
  add_executable(${name} main.cpp)
  target_link_libraries(${name} PRIVATE ${ARGN})
  green_warnings(${name})
  if(green_lto)
    target_link_options(${name} PRIVATE -flto=auto)
  endif()
endfunction()

# Warnings are errors in our own code.
function(green_warnings target)
  target_compile_options(${target} PRIVATE
    -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wno-sign-conversion -Wnon-virtual-dtor
    -Wold-style-cast -Wimplicit-fallthrough -fvisibility=hidden)
  # Of gcc: clang, which builds the fuzz targets, has warnings of its own on headers of others. And
  # without a profile: by what a load was like, the optimiser warns of other things each time.
  if(NOT GREEN_FUZZ AND NOT GREEN_PROFILE)
    target_compile_options(${target} PRIVATE -Werror)
  endif()
endfunction()

# For the many programs that only test.
function(green_without_lto target)
  if(green_lto)
    target_compile_options(${target} PRIVATE -fno-lto)
    target_link_options(${target} PRIVATE -fno-lto)
  endif()
endfunction()

# One GoogleTest program a folder, of every *_test.cpp beside the calling CMakeLists.txt.
function(green_folder_test name)
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*_test.cpp)
  add_executable(${name} ${sources})
  target_link_libraries(${name} PRIVATE ${ARGN} GTest::gmock GTest::gtest_main)
  target_include_directories(${name} PRIVATE ${CMAKE_SOURCE_DIR})
  green_warnings(${name})
  # GCC 12 takes std::string's own buffer for uninitialized where a test compares a copy of one.
  target_compile_options(${name} PRIVATE -Wno-maybe-uninitialized)
  green_without_lto(${name})
  add_test(NAME ${name} COMMAND ${name})
endfunction()
