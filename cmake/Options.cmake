# How code is compiled: optimisation across files, sanitizers, hardening, ccache.
option(GREEN_LTO "Optimise the programs across files (where the compiler can)" OFF)
set(GREEN_SANITIZE "" CACHE STRING "Sanitizers, as in -fsanitize=: address,undefined or thread")
option(GREEN_FUZZ "Build the fuzz targets with libFuzzer (needs clang)" OFF)

set(GREEN_PROFILE "" CACHE STRING
    "generate: programs that note, in the build folder, which branches they take; use: optimised by that")

find_program(green_ccache ccache)
# Not for a profile: its counts are found by positions in the source, which differ where ccache preprocessed.
if(green_ccache AND NOT GREEN_PROFILE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_C_COMPILER_LAUNCHER ${green_ccache})
  set(CMAKE_CXX_COMPILER_LAUNCHER ${green_ccache})
endif()

# All code reports its coverage, ours and llhttp's: a fuzzer that sees only the target is blind.
if(GREEN_FUZZ)
  if(NOT CMAKE_CXX_COMPILER_ID MATCHES Clang)
    message(FATAL_ERROR "GREEN_FUZZ needs clang: -DCMAKE_CXX_COMPILER=clang++, or the preset fuzz")
  endif()
  add_compile_options(-fsanitize=fuzzer-no-link)
endif()
if(GREEN_SANITIZE)
  add_compile_options(-fsanitize=${GREEN_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${GREEN_SANITIZE})
else()
  add_compile_options(-fstack-protector-strong -fstack-clash-protection)
  add_link_options(-Wl,-z,relro,-z,now)
  if(CMAKE_BUILD_TYPE MATCHES "Rel" AND NOT CMAKE_CXX_FLAGS MATCHES "FORTIFY")
    add_compile_options(-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2)
  endif()
endif()
# gcc clears and copies structs of some hundred bytes by "rep stos" and "rep movs", which take their time to begin:
# a request has a dozen of them.
include(CheckCXXCompilerFlag)
set(green_block_strategy unrolled_loop:512:noalign,libcall:-1:noalign)
set(green_blocks -mmemset-strategy=${green_block_strategy} -mmemcpy-strategy=${green_block_strategy})
check_cxx_compiler_flag("${green_blocks}" green_knows_block_strategies)
if(green_knows_block_strategies)
  add_compile_options(${green_blocks})
  add_link_options(${green_blocks})
endif()
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
add_link_options(-Wl,--as-needed)
include(CheckPIESupported)
check_pie_supported(LANGUAGES CXX)

# Objects hold both machine code and what LTO needs: programs are linked with LTO, the many test programs
# without it, in a fraction of the time.
set(green_lto OFF)
if(GREEN_LTO AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND NOT GREEN_SANITIZE)
  include(CheckIPOSupported)
  check_ipo_supported(RESULT green_lto OUTPUT green_lto_why LANGUAGES C CXX)
  if(green_lto)
    add_compile_options(-flto=auto -ffat-lto-objects)
  else()
    message(STATUS "No LTO: ${green_lto_why}")
  endif()
endif()

# Profile-guided optimisation: tools/pgo does both steps, with the load of bench/train.py between them.
set(green_profile ${CMAKE_BINARY_DIR}/profile)
if(GREEN_PROFILE STREQUAL "generate")
  add_compile_options(-fprofile-generate=${green_profile})
  add_link_options(-fprofile-generate=${green_profile})
elseif(GREEN_PROFILE STREQUAL "use")
  if(NOT EXISTS ${green_profile})
    message(FATAL_ERROR "GREEN_PROFILE=use: there is no profile in ${green_profile}; tools/pgo makes one")
  endif()
  # What the load never reached is optimised as it is without a profile, not for size.
  # Threads lose counts to each other: corrected.
  set(green_by_profile -fprofile-use=${green_profile} -fprofile-partial-training -fprofile-correction
      -Wno-missing-profile)
  add_compile_options(${green_by_profile})
  add_link_options(${green_by_profile})
elseif(GREEN_PROFILE)
  message(FATAL_ERROR "GREEN_PROFILE is generate, use or empty, not ${GREEN_PROFILE}")
endif()
