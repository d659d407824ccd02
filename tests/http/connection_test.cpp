#include "daemon/http/connection.h"

#include "tests/http/server_fixture.h"

namespace green::http {
namespace {

using testing::ServerFixture;
using testing::without_date;

using Connections = ServerFixture;
constexpr std::string_view get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

TEST_F(Connections, AnswersARequest) {
  const auto client = connect();
  EXPECT_EQ(without_date(ask(client, get)),
            "HTTP/1.1 200 OK\r\nServer: green\r\nContent-Length: 6\r\n\r\nGET /\n");
}

}  // namespace
}  // namespace green::http
