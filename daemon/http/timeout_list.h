// Timeouts of one length, for thousands of connections: an intrusive list in order of expiry.
// Starting one is a relink at the tail; no clock, heap or system call. Loop thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>

namespace green::http {

class TimeoutList;

/// Base of what can time out: at any time on one list or none.
class TimeoutNode {
 public:
  TimeoutNode() = default;
  TimeoutNode(const TimeoutNode&) = delete;
  TimeoutNode& operator=(const TimeoutNode&) = delete;
  bool has_timeout() const { return next_ != nullptr; }
  void cancel_timeout();

 protected:
  virtual ~TimeoutNode() { cancel_timeout(); }

 private:
  friend class TimeoutList;
  virtual void on_timeout() = 0;
  TimeoutNode* previous_ = nullptr;
  TimeoutNode* next_ = nullptr;
  std::uint64_t deadline_usec_ = 0;
};

class TimeoutList {
 public:
  explicit TimeoutList(std::chrono::microseconds duration);
  ~TimeoutList();
  TimeoutList(const TimeoutList&) = delete;
  TimeoutList& operator=(const TimeoutList&) = delete;

  /// (Re)starts the node's timeout here; leaves any other list.
  void start(TimeoutNode& node, std::uint64_t now_usec);
  std::optional<std::uint64_t> next_deadline() const;
  /// Takes expired nodes off and tells each. A node told may not be destroyed before this returns.
  void expire(std::uint64_t now_usec);

 private:
  struct Anchor final : TimeoutNode {
    void on_timeout() override {}
  };
  std::uint64_t duration_usec_;
  Anchor anchor_;
};

}  // namespace green::http
