// What one client may take of a worker: sizes and times, with safe defaults. No thread affinity.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>

namespace green::http {

struct Limits {
  std::size_t request_line = 8190;    ///< bytes of method, target and version; more: 414
  std::size_t header_count = 100;     ///< more: 431
  std::size_t head_bytes = 32 << 10;  ///< request line and headers; more: 431. Trailers: the same
  std::size_t chunk_extension_bytes = 4096;  ///< per chunk; more: 400
  std::uint64_t body_bytes = 0;              ///< more: 413; 0: any size
  std::size_t body_memory = 64 << 10;        ///< a longer body goes to an unlinked file
  std::size_t output_memory = 256 << 10;     ///< unsent reply; more goes to an unlinked file
  std::string spool_directory = "/var/tmp";  ///< where those files are made

  std::chrono::microseconds head_time = std::chrono::seconds(10);    ///< for a whole head; then 408
  std::chrono::microseconds body_idle = std::chrono::seconds(30);    ///< between bytes; then 408
  std::chrono::microseconds write_stall = std::chrono::seconds(60);  ///< nothing taken: cut
  std::chrono::microseconds keepalive = std::chrono::seconds(5);     ///< idle; 0: no keep-alive
  std::chrono::microseconds linger = std::chrono::seconds(2);        ///< after our last byte
  std::chrono::microseconds drain_idle = std::chrono::seconds(1);  ///< idle ones live on, draining
  int accepts_per_turn = 8;                                        ///< of one listener
  int requests_per_turn = 16;  ///< pipelined ones of one connection
};

}  // namespace green::http
