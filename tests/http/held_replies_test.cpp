#include "daemon/http/held_replies.h"

#include <poll.h>
#include <sys/resource.h>
#include <unistd.h>

#include <thread>

#include "tests/http/server_fixture.h"

namespace green::http {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr std::string_view get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

bool has_reply(const Fd& client, milliseconds patience = milliseconds(0)) {
  pollfd one{.fd = client.get(), .events = POLLIN, .revents = 0};
  return ::poll(&one, 1, static_cast<int>(patience.count())) == 1;
}

void be_busy_for(microseconds time) {
  const auto end = steady_clock::now() + time;
  while (steady_clock::now() < end) {
  }
}

/// Requests of several clients that are there in one turn; `during` runs within the call of each.
class HeldReply : public testing::ServerFixture {
 protected:
  void SetUp() override {
    for (Fd& client : clients) client = connect();
    application.answer = [this](Exchange& exchange) {
      const auto call = calls++;
      if (during) during(call);
      const auto length = std::to_string(body.size());
      const Header declared{"Content-Length", length};
      const bool is_declared = ends != Ends::by_finish;
      ASSERT_TRUE(exchange.start(200, "OK", std::span(&declared, is_declared ? 1 : 0)));
      if (in_parts) {
        ASSERT_TRUE(exchange.write("first\n"));
      }
      if (is_declared) {
        ASSERT_TRUE(exchange.write(body));
      }
      if (ends == Ends::by_length_and_abort) return exchange.abort();
      exchange.finish(is_declared ? std::string_view() : body);
    };
  }
  void ask_all() {
    for (const Fd& client : clients) send(client, get);
    turn(1);
  }
  void expect_all_answered() {
    for (const Fd& client : clients) EXPECT_TRUE(take(client).ends_with(body));
    EXPECT_EQ(observer.done, static_cast<int>(clients.size()));
  }

  /// Whether in some turn the first reply waits while the second call goes on: in most, unless the
  /// machine takes its time between the two.
  bool waits_for_the_second_call() {
    bool waits = false;
    during = [&](std::size_t call) {
      if (call % clients.size() == 1) waits = !has_reply(clients[0]);
    };
    for (int i = 0; i < 100 && !waits; ++i) {
      ask_all();
      run_steps();
      for (const Fd& client : clients) EXPECT_TRUE(take(client).ends_with(body));
    }
    EXPECT_EQ(static_cast<std::size_t>(observer.done), calls);
    return waits;
  }

  /// Of an outer loop, if there is one: all but the last `left`.
  virtual void run_steps(std::size_t left = 0) { static_cast<void>(left); }

  enum class Ends { by_finish, by_length, by_length_and_abort } ends = Ends::by_finish;
  std::array<Fd, 9> clients;
  std::function<void(std::size_t call)> during;
  std::string body = "hello\n";
  bool in_parts = false;
  std::size_t calls = 0;
};

TEST_F(HeldReply, LeavesWhenTheRequestsThatCameWithItAreAnswered) {
  EXPECT_TRUE(waits_for_the_second_call());
}

TEST_F(HeldReply, IsWholeOnceItsLengthIsReached) {
  ends = Ends::by_length;
  EXPECT_TRUE(waits_for_the_second_call());
}

TEST_F(HeldReply, IsSentWhereItsConnectionIsCut) {
  ends = Ends::by_length_and_abort;
  ask_all();
  turn();
  for (const Fd& client : clients) {
    bool ended = false;
    EXPECT_TRUE(take(client, &ended).ends_with(body));
    EXPECT_TRUE(ended);
  }
  EXPECT_EQ(observer.closed, static_cast<int>(clients.size()));
}

TEST_F(HeldReply, IsSentWhileTheNextCallGoesOn) {
  bool came = false;
  during = [&](std::size_t call) {
    if (call == 1) came = has_reply(clients[0], std::chrono::seconds(10));
  };
  ask_all();
  EXPECT_TRUE(came);
  expect_all_answered();
}

TEST_F(HeldReply, IsSentDuringALaterTurnsCallToo) {
  ask_all();
  expect_all_answered();
  // Longer than the thread looks for nothing: it sleeps, and must be woken.
  std::this_thread::sleep_for(HeldReplies::patience * 80);
  bool came = false;
  calls = 0;
  during = [&](std::size_t call) {
    if (call == 1) came = has_reply(clients[0], std::chrono::seconds(10));
  };
  ask_all();
  EXPECT_TRUE(came);
}

TEST_F(HeldReply, IsNoneOfASlowCalls) {
  during = [this](std::size_t call) {
    if (call == 0) be_busy_for(microseconds(HeldReplies::quick_call_usec + 100));
    if (call == 1) {
      EXPECT_TRUE(has_reply(clients[0]));
    }
  };
  ask_all();
  expect_all_answered();
}

TEST_F(HeldReply, LeavesBeforeTheCallsAfterItAddUp) {
  std::vector<bool> came;
  during = [&](std::size_t) {
    came.push_back(has_reply(clients[0]));
    be_busy_for(microseconds(HeldReplies::quick_call_usec * 4 / 5));
  };
  ask_all();
  // The first is held when its call ends, 0.4 ms before the second one does, and so on.
  EXPECT_TRUE(came[7]);
  expect_all_answered();
}

TEST_F(HeldReply, IsWholeOrNotHeld) {
  in_parts = true;
  during = [this](std::size_t call) {
    if (call == 1) {
      EXPECT_TRUE(has_reply(clients[0]));
    }
  };
  ask_all();
  for (const Fd& client : clients) EXPECT_NE(take(client).find("hello"), std::string::npos);
}

TEST_F(HeldReply, IsNotOneThatEndsWithItsConnection) {
  bool ended = false;
  std::string reply;
  during = [&](std::size_t call) {
    if (call == 1) reply = take(clients[0], &ended);
  };
  send(clients[0], "GET / HTTP/1.0\r\n\r\n");
  for (std::size_t i = 1; i < clients.size(); ++i) send(clients[i], get);
  turn(1);
  EXPECT_TRUE(reply.ends_with(body));
  EXPECT_TRUE(ended) << "its end waited for the next call";
}

TEST_F(HeldReply, IsSmall) {
  body = std::string(HeldReplies::largest_reply + 1, 'x');
  during = [this](std::size_t call) {
    if (call == 1) {
      EXPECT_TRUE(has_reply(clients[0]));
    }
  };
  ask_all();
  expect_all_answered();
}

TEST_F(HeldReply, IsNotWaitedForByItsClientsNextRequest) {
  send(clients[0], std::string(get) + std::string(get));
  send(clients[1], get);
  during = [this](std::size_t call) {
    if (call == 1) {
      EXPECT_TRUE(has_reply(clients[0]));
    }
  };
  turn(1);
  EXPECT_EQ(calls, 3U);
}

TEST_F(HeldReply, OfAClientThatLeftDoesNoHarm) {
  during = [this](std::size_t call) {
    if (call == 1) clients[0].reset();
  };
  ask_all();
  turn();
  EXPECT_EQ(observer.closed, 1);
  EXPECT_EQ(observer.done, 9);
  for (std::size_t i = 1; i < clients.size(); ++i) EXPECT_TRUE(take(clients[i]).ends_with(body));
}

TEST_F(HeldReply, LeavesThoughTheLoopEndsInThatTurn) {
  during = [this](std::size_t call) {
    if (call == 1) reactor->fail(Error(ErrorCode::unavailable, "the loop ends here"));
  };
  for (const Fd& client : clients) send(client, get);
  EXPECT_FALSE(reactor->turn(false));
  server.reset();
  EXPECT_TRUE(take(clients[0]).ends_with(body));
}

TEST_F(HeldReply, IsSentByAHandlerBeforeTheProcessDies) {
  std::string text;
  during = [&](std::size_t call) {
    if (call != 1) return;
    HeldReplies::send_all_from_handler();
    text = take(clients[0]);
  };
  ask_all();
  EXPECT_TRUE(text.ends_with(body));
  EXPECT_EQ(take(clients[0]), "") << "sent once";
  EXPECT_EQ(observer.done, 9);
}

TEST_F(HeldReply, IsNoneWhereNoThreadCanBeStarted) {
  const auto in_a_process_without_threads = [this] {
    const rlimit none{.rlim_cur = 0, .rlim_max = 0};
    if (::setrlimit(RLIMIT_NPROC, &none) != 0) _exit(2);
    // The limit is not root's.
    if (::geteuid() == 0 && ::setresuid(65534, 65534, 65534) != 0) _exit(3);
    ask_all();
    for (const Fd& client : clients)
      if (!take(client).ends_with(body)) _exit(4);
    calls = 0;
    during = [this](std::size_t call) {
      if (call == 1) _exit(has_reply(clients[0]) ? 0 : 5);
    };
    ask_all();
    _exit(6);
  };
  EXPECT_EXIT(in_a_process_without_threads(), ::testing::ExitedWithCode(0), "");
}

TEST_F(HeldReply, OfMoreClientsThanThereAreSlotsForLeaves) {
  std::vector<Fd> many(100);
  for (Fd& client : many) client = connect();
  for (const Fd& client : many) send(client, get);
  turn(2);
  for (const Fd& client : many) EXPECT_TRUE(take(client).ends_with(body));
}

/// The same, of calls that begin after the turn, on the rounds of an outer loop.
class HeldReplyOfAStep : public HeldReply {
 protected:
  void SetUp() override {
    for (Fd& client : clients) client = connect();
    application.answer = [this](Exchange& exchange) {
      exchange.announce();
      steps.push_back([this, &exchange] {
        reactor->refresh_now();
        exchange.publish();
        const auto call = calls++;
        if (during) during(call);
        if (call == waits_for_something) return;
        ASSERT_TRUE(exchange.start(200, "OK", {}));
        exchange.finish(body);
      });
    };
  }
  void run_steps(std::size_t left = 0) override {
    while (steps.size() > left) {
      const auto step = std::move(steps.front());
      steps.erase(steps.begin());
      step();
    }
  }

  std::vector<std::function<void()>> steps;
  std::size_t waits_for_something = SIZE_MAX;
};

TEST_F(HeldReplyOfAStep, WaitsForOthersThatAreToBegin) { EXPECT_TRUE(waits_for_the_second_call()); }

TEST_F(HeldReplyOfAStep, LeavesBeforeTheLastOfThemBegins) {
  during = [&](std::size_t call) {
    if (call != clients.size() - 1) return;
    for (std::size_t i = 0; i < call; ++i) EXPECT_TRUE(has_reply(clients[i])) << i;
  };
  ask_all();
  run_steps();
  expect_all_answered();
}

TEST_F(HeldReplyOfAStep, AloneLeavesAtOnce) {
  send(clients[0], get);
  turn(1);
  run_steps();
  EXPECT_TRUE(take(clients[0]).ends_with(body));
}

TEST_F(HeldReplyOfAStep, IsNoneWhereAllHaveBegun) {
  waits_for_something = 0;
  Exchange* first = nullptr;
  const auto answer = application.answer;
  application.answer = [&](Exchange& exchange) {
    if (first == nullptr) first = &exchange;
    answer(exchange);
  };
  ask_all();
  run_steps();
  EXPECT_FALSE(has_reply(clients[0]));
  first->publish();
  ASSERT_TRUE(first->start(200, "OK", {}));
  first->finish(body);
  expect_all_answered();
}

TEST_F(HeldReplyOfAStep, IsSentWhileTheNextStepGoesOn) {
  bool came = false;
  during = [&](std::size_t call) {
    if (call == 1) came = has_reply(clients[0], std::chrono::seconds(10));
  };
  ask_all();
  run_steps();
  EXPECT_TRUE(came);
  expect_all_answered();
}

TEST_F(HeldReplyOfAStep, IsNoneOfASlowStep) {
  during = [this](std::size_t call) {
    if (call == 0) be_busy_for(microseconds(HeldReplies::quick_call_usec + 100));
    if (call == 1) {
      EXPECT_TRUE(has_reply(clients[0]));
    }
  };
  ask_all();
  run_steps();
  expect_all_answered();
}

TEST_F(HeldReplyOfAStep, LeavesBeforeTheStepsAfterItAddUp) {
  std::vector<bool> came;
  during = [&](std::size_t) {
    came.push_back(has_reply(clients[0]));
    be_busy_for(microseconds(HeldReplies::quick_call_usec * 4 / 5));
  };
  ask_all();
  run_steps();
  EXPECT_TRUE(came[7]);
  expect_all_answered();
}

TEST_F(HeldReplyOfAStep, LeavesOnTheNextTurnWhereTheLastOfThemNeverBegins) {
  ask_all();
  run_steps(1);
  turn(1);
  for (std::size_t i = 0; i < clients.size() - 1; ++i)
    EXPECT_TRUE(take(clients[i]).ends_with(body)) << i;
  run_steps();
  EXPECT_TRUE(take(clients.back()).ends_with(body));
  EXPECT_EQ(observer.done, static_cast<int>(clients.size()));
}

TEST_F(HeldReplyOfAStep, WaitsForNoneThatWasToBeginInAnEarlierTurn) {
  send(clients[0], get);
  turn(1);
  const auto late = std::exchange(steps, {});
  send(clients[1], get);
  send(clients[2], get);
  turn(1);
  run_steps();
  EXPECT_TRUE(take(clients[1]).ends_with(body));
  EXPECT_TRUE(take(clients[2]).ends_with(body));
  for (const auto& step : late) step();
  EXPECT_TRUE(take(clients[0]).ends_with(body));
}

TEST_F(HeldReplyOfAStep, WaitsForNoneThatBeganWithinTheTurn) {
  Exchange* begun = nullptr;
  const auto answer = application.answer;
  application.answer = [&](Exchange& exchange) {
    if (begun != nullptr) return answer(exchange);
    begun = &exchange;
    exchange.announce();
    exchange.publish();
  };
  ask_all();
  run_steps();
  for (std::size_t i = 1; i < clients.size(); ++i)
    EXPECT_TRUE(take(clients[i]).ends_with(body)) << i;
  ASSERT_TRUE(begun->start(200, "OK", {}));
  begun->finish(body);
  EXPECT_TRUE(take(clients[0]).ends_with(body));
}

TEST_F(HeldReplyOfAStep, LeavesSoonWhereTheLastOfThemIsAbortedBeforeItBegins) {
  Exchange* last = nullptr;
  const auto answer = application.answer;
  application.answer = [&](Exchange& exchange) {
    last = &exchange;
    answer(exchange);
  };
  ask_all();
  run_steps(1);
  last->abort();
  EXPECT_LE(reactor->next_turn_due(), reactor->now_usec());
  turn(1);
  for (std::size_t i = 0; i < clients.size() - 1; ++i)
    EXPECT_TRUE(take(clients[i]).ends_with(body)) << i;
  EXPECT_TRUE(take(clients.back()).starts_with("HTTP/1.1 500 "));
}

TEST_F(HeldReplyOfAStep, OfAClientThatLeftDoesNoHarm) {
  during = [this](std::size_t call) {
    if (call == 1) clients[0].reset();
  };
  ask_all();
  clients[3].reset();
  run_steps();
  turn();
  EXPECT_EQ(observer.closed, 2);
  EXPECT_EQ(observer.done, 9);
  for (const std::size_t other : {1, 2, 4, 5, 6, 7, 8})
    EXPECT_TRUE(take(clients[other]).ends_with(body)) << other;
}

TEST_F(HeldReplyOfAStep, IsLetGoWithItsServer) {
  ask_all();
  run_steps(2);
  steps.clear();
  server.reset();
  EXPECT_TRUE(take(clients[0]).ends_with(body));
}

}  // namespace
}  // namespace green::http
