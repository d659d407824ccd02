#include "common/request_list.h"

#include <gmock/gmock.h>

namespace green {
namespace {

using testing::HasSubstr;

ListedRequest request(std::uint64_t since, RequestState state = RequestState::running) {
  return {.state = state, .since_usec = since, .request = "GET /a", .client = "192.0.2.1"};
}

TEST(RequestList, ComesBackFromItsTextAsItWas) {
  const RequestList list{.requests = {request(7),
                                      {.state = RequestState::websocket,
                                       .since_usec = UINT64_MAX,
                                       .request = "GET /with a space",
                                       .client = ""},
                                      {.state = RequestState::reading,
                                       .since_usec = 0,
                                       .request = "",
                                       .client = "::1"}},
                         .unlisted = 3};
  const auto read = request_list_from_text(request_list_to_text(list));
  ASSERT_TRUE(read) << read.error().message();
  EXPECT_EQ(read->unlisted, 3U);
  ASSERT_EQ(read->requests.size(), 3U);
  EXPECT_EQ(read->requests[1].state, RequestState::websocket);
  EXPECT_EQ(read->requests[1].since_usec, UINT64_MAX);
  EXPECT_EQ(read->requests[1].request, "GET /with a space");
  EXPECT_EQ(read->requests[2].client, "::1");
}

TEST(RequestList, TakesNothingFromAPathThatIsNoText) {
  const RequestList list{.requests = {{.state = RequestState::running,
                                       .since_usec = 1,
                                       .request = "GET /a\n9\trunning\xff\x1b[31m",
                                       .client = "x\ty"}}};
  const auto read = request_list_from_text(request_list_to_text(list));
  ASSERT_TRUE(read) << read.error().message();
  ASSERT_EQ(read->requests.size(), 1U);
  for (const char c : read->requests[0].request + read->requests[0].client)
    EXPECT_TRUE(c >= 0x20 && c < 0x7f);
}

TEST(RequestList, HoldsTheOldestRequestsBeforeAnyWebSocketAndCountsTheRest) {
  std::vector<ListedRequest> all;
  for (std::uint64_t i = 0; i < most_listed_requests; ++i)
    all.push_back(request(i, RequestState::websocket));
  for (std::uint64_t i = 100; i > 0; --i) all.push_back(request(1000 + i));
  const RequestList list = shortened(std::move(all));
  ASSERT_EQ(list.requests.size(), most_listed_requests);
  EXPECT_EQ(list.unlisted, 100U);
  EXPECT_EQ(list.requests[0].since_usec, 1001U);
  EXPECT_EQ(list.requests[99].since_usec, 1100U);
  EXPECT_EQ(list.requests[100].state, RequestState::websocket);
  EXPECT_EQ(list.requests[100].since_usec, 0U);
}

TEST(RequestList, RefusesWhatNoWorkerOfOursWrites) {
  for (const char* text :
       {"", "x", "-1\n", "1", "0\nrunning\t1\t\tGET /", "0\nrunning\tx\t\tGET /\n",
        "0\nsleeping\t1\t\tGET /\n", "0\nrunning\t1\n", "18446744073709551616\n", "0\n\n"})
    EXPECT_FALSE(request_list_from_text(text)) << text;
  std::string long_list = "0\n";
  for (std::size_t i = 0; i <= most_listed_requests; ++i) long_list += "running\t1\t\tGET /\n";
  EXPECT_FALSE(request_list_from_text(long_list));
}

TEST(RequestList, NamesEachState) {
  EXPECT_EQ(request_state_name(RequestState::reading), "reading");
  EXPECT_EQ(request_state_name(RequestState::websocket), "websocket");
  EXPECT_THAT(request_list_to_text({.requests = {request(5)}}),
              HasSubstr("running\t5\t192.0.2.1\tGET /a\n"));
}

}  // namespace
}  // namespace green
