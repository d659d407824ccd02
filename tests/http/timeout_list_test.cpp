#include "daemon/http/timeout_list.h"

#include <gtest/gtest.h>

#include <functional>
#include <string>

namespace green::http {
namespace {

struct Node final : TimeoutNode {
  std::function<void()> act = [] {};
  void on_timeout() override { act(); }
};

constexpr auto hundred = std::chrono::microseconds(100);

TEST(TimeoutList, TellsExpiredNodesInOrderAndNoOther) {
  TimeoutList list(hundred);
  Node a, b, c;
  std::string order;
  a.act = [&] { order += 'a'; };
  b.act = [&] { order += 'b'; };
  c.act = [&] { order += 'c'; };
  list.start(a, 0);
  list.start(b, 10);
  list.start(c, 20);
  list.start(a, 25);  // anew: now behind c
  list.expire(120);
  EXPECT_EQ(order, "bc");
  EXPECT_TRUE(a.has_timeout());
  EXPECT_FALSE(b.has_timeout());
  EXPECT_EQ(list.next_deadline(), 125U);
}

TEST(TimeoutList, ForgetsANodeThatIsCancelledOrDestroyed) {
  TimeoutList list(hundred);
  Node a;
  {
    Node b;
    list.start(b, 0);
    list.start(a, 0);
  }
  a.cancel_timeout();
  EXPECT_EQ(list.next_deadline(), std::nullopt);
  list.expire(1000);
}

TEST(TimeoutList, MovesANodeFromAnotherList) {
  TimeoutList one(hundred), two(hundred);
  Node a;
  one.start(a, 0);
  two.start(a, 0);
  EXPECT_EQ(one.next_deadline(), std::nullopt);
  EXPECT_EQ(two.next_deadline(), 100U);
}

TEST(TimeoutList, TellsANodeThatStartsAnewOnceACall) {
  TimeoutList list(std::chrono::microseconds(0));
  Node a;
  int told = 0;
  a.act = [&] {
    ++told;
    list.start(a, 0);
  };
  list.start(a, 0);
  list.expire(5);
  EXPECT_EQ(told, 1);
}

TEST(TimeoutList, CopesWithANodeThatCancelsTheOthers) {
  TimeoutList list(hundred);
  Node a, b, c;
  a.act = [&] {
    b.cancel_timeout();
    c.cancel_timeout();
  };
  b.act = c.act = [] { FAIL() << "was cancelled"; };
  for (Node* node : {&a, &b, &c}) list.start(*node, 0);
  list.expire(1000);
  EXPECT_EQ(list.next_deadline(), std::nullopt);
}

}  // namespace
}  // namespace green::http
