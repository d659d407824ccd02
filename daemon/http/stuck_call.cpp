#include "daemon/http/stuck_call.h"

#include <sys/socket.h>

#include <array>
#include <atomic>
#include <cstddef>

#include "daemon/http/socket_calls.h"

namespace green::http {
namespace {

// One loop a process: a handler finds no other way to it. -1: no call that could be answered.
std::atomic<int> published_socket{-1};
std::atomic<bool> published_is_head{false};
std::atomic<bool> was_answered{false};
static_assert(std::atomic<int>::is_always_lock_free && std::atomic<bool>::is_always_lock_free);

constexpr std::string_view whole_reply =
    "HTTP/1.1 504 Gateway Timeout\r\n"
    "Content-Type: text/plain; charset=utf-8\r\n"
    "Content-Length: 60\r\n"
    "Connection: close\r\n\r\n"
    "504 Gateway Timeout: the application did not answer in time\n";
constexpr std::size_t body_size = 60;

}  // namespace

std::string_view timeout_reply(bool is_head) {
  return is_head ? whole_reply.substr(0, whole_reply.size() - body_size) : whole_reply;
}

void publish_call(int socket, bool is_head) {
  published_is_head.store(is_head, std::memory_order_relaxed);
  // The handler runs on this thread: only the order in the program matters.
  std::atomic_signal_fence(std::memory_order_release);
  published_socket.store(socket, std::memory_order_relaxed);
}

void withdraw_call() { published_socket.store(-1, std::memory_order_relaxed); }

bool take_answered() {
  return was_answered.load(std::memory_order_relaxed) && was_answered.exchange(false);
}

bool answer_published_call() {
  const int socket = published_socket.exchange(-1, std::memory_order_relaxed);
  if (socket < 0) return false;
  const std::string_view reply = timeout_reply(published_is_head.load(std::memory_order_relaxed));
  const bool is_sent = send_now(socket, reply) == static_cast<ssize_t>(reply.size());
  ::shutdown(socket, SHUT_WR);
  was_answered.store(true, std::memory_order_relaxed);
  // What its client sent ahead: left unread, it would make the end of this process a reset, which
  // may overtake the reply.
  std::array<char, 4096> unread;
  for (int i = 0; i < 64; ++i)
    if (receive_now(socket, unread.data(), unread.size()) <= 0) break;
  return is_sent;
}

}  // namespace green::http
