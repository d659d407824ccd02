#include "daemon/http/in_process_exchange.h"

#include <gtest/gtest.h>

#include "tests/http/fake_application.h"

namespace green::http {
namespace {

TEST(InProcessExchange, AsksAsAClientWouldAndKeepsTheAnswer) {
  testing::FakeApplication application;
  InProcessExchange exchange("/health?deep=1", "localhost");
  application.call(exchange);
  ASSERT_EQ(application.requests.size(), 1U);
  const auto& request = application.requests[0];
  EXPECT_EQ(request.method, "GET");
  EXPECT_EQ(request.path, "/health");
  EXPECT_EQ(request.query, "deep=1");
  EXPECT_EQ(request.headers[0], std::pair(std::string("Host"), std::string("localhost")));
  EXPECT_TRUE(exchange.is_done());
  EXPECT_FALSE(exchange.aborted());
  EXPECT_EQ(exchange.status(), 200);
  EXPECT_EQ(exchange.reason(), "OK");
  EXPECT_EQ(exchange.body(), "GET /health?deep=1\n");
}

TEST(InProcessExchange, TellsAnApplicationThatGaveUp) {
  InProcessExchange exchange("/", "a");
  ASSERT_TRUE(exchange.start(200, "OK", {}));
  exchange.abort();
  EXPECT_TRUE(exchange.aborted());
  EXPECT_EQ(exchange.status(), 0);
  exchange.finish();
  EXPECT_TRUE(exchange.aborted());
}

TEST(InProcessExchange, HoldsTheApplicationToTheRulesOfTheNetwork) {
  InProcessExchange exchange("/", "a");
  EXPECT_FALSE(exchange.write("x"));
  EXPECT_FALSE(exchange.start(42, "", {}));
  const Header bad{"X", "a\nb"};
  EXPECT_FALSE(exchange.start(200, "OK", {&bad, 1}));
  exchange.finish();
  EXPECT_TRUE(exchange.aborted()) << "nothing was started";
}

TEST(InProcessExchange, KeepsOnlyTheBeginningOfALongReply) {
  InProcessExchange exchange("/", "a");
  ASSERT_TRUE(exchange.start(200, "OK", {}));
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(exchange.write(std::string(10'000, 'x')));
  exchange.finish();
  EXPECT_EQ(exchange.body().size(), 64U << 10);
}

TEST(InProcessExchange, CheckInterimResponsesAndLeaveThemOut) {
  InProcessExchange exchange("/", "a");
  EXPECT_TRUE(exchange.send_interim(103, {}));
  EXPECT_FALSE(exchange.send_interim(200, {}));
  ASSERT_TRUE(exchange.start(200, "OK", {}));
  exchange.finish("x");
  EXPECT_FALSE(exchange.send_interim(103, {}));
  EXPECT_EQ(exchange.status(), 200);
  EXPECT_EQ(exchange.body(), "x");
}

}  // namespace
}  // namespace green::http
