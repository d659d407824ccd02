#include "daemon/http/timeout_list.h"

namespace green::http {

void TimeoutNode::cancel_timeout() {
  if (next_ == nullptr) return;
  previous_->next_ = next_;
  next_->previous_ = previous_;
  previous_ = next_ = nullptr;
}

TimeoutList::TimeoutList(std::chrono::microseconds duration)
    : duration_usec_(static_cast<std::uint64_t>(duration.count())) {
  anchor_.previous_ = anchor_.next_ = &anchor_;
}

TimeoutList::~TimeoutList() {
  while (anchor_.next_ != &anchor_) anchor_.next_->cancel_timeout();
}

void TimeoutList::start(TimeoutNode& node, std::uint64_t now_usec) {
  node.cancel_timeout();
  node.deadline_usec_ = now_usec + duration_usec_;
  node.previous_ = anchor_.previous_;
  node.next_ = &anchor_;
  anchor_.previous_->next_ = &node;
  anchor_.previous_ = &node;
}

std::optional<std::uint64_t> TimeoutList::next_deadline() const {
  if (anchor_.next_ == &anchor_) return std::nullopt;
  return anchor_.next_->deadline_usec_;
}

void TimeoutList::expire(std::uint64_t now_usec) {
  // Nodes that on_timeout() starts anew go behind `last`: each is told once a call.
  TimeoutNode* const last = anchor_.previous_;
  while (anchor_.next_ != &anchor_ && anchor_.next_->deadline_usec_ <= now_usec) {
    TimeoutNode* const node = anchor_.next_;
    node->cancel_timeout();
    node->on_timeout();
    if (node == last) break;
  }
}

}  // namespace green::http
