#include "daemon/http/connection.h"

#include "tests/http/server_fixture.h"

namespace green::http {
namespace {

using std::chrono::milliseconds;
using testing::without_date;

class Connections : public testing::ServerFixture {
 protected:
  /// The application keeps the exchange; the test finishes it.
  void keep_exchanges() {
    application.answer = [this](Exchange& exchange) { kept.push_back(&exchange); };
  }
  std::vector<Exchange*> kept;
};

constexpr std::string_view get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

TEST_F(Connections, AnswersARequestWithOneHeadAndItsBody) {
  const auto client = connect();
  EXPECT_EQ(without_date(ask(client, get)),
            "HTTP/1.1 200 OK\r\nServer: green\r\nContent-Length: 6\r\n\r\nGET /\n");
}

TEST_F(Connections, ServesManyRequestsOnOneConnection) {
  const auto client = connect();
  for (int i = 0; i < 100; ++i) EXPECT_TRUE(ask(client, get).ends_with("GET /\n"));
  EXPECT_EQ(observer.opened, 1);
  EXPECT_EQ(observer.done, 100);
  EXPECT_EQ(observer.calls, 100);
}

TEST_F(Connections, AnswersMorePipelinedRequestsThanATurnTakes) {
  const auto client = connect();
  std::string requests;
  for (int i = 0; i < 500; ++i) requests += get;
  send(client, requests);
  EXPECT_TRUE(turn_until([&] {
    take(client);
    return observer.done == 500;
  }));
  EXPECT_EQ(application.requests.size(), 500U);
}

TEST_F(Connections, DoesNotCallForTheNextRequestBeforeAReplyIsFinished) {
  keep_exchanges();
  const auto client = connect();
  send(client, std::string(get) + std::string(get));
  turn();
  ASSERT_EQ(kept.size(), 1U);
  ASSERT_TRUE(kept[0]->start(200, "OK", {}));
  kept[0]->finish("1\n");
  ASSERT_EQ(kept.size(), 1U) << "called from within finish()";
  turn();
  ASSERT_EQ(kept.size(), 2U);
  ASSERT_TRUE(kept[1]->start(200, "OK", {}));
  kept[1]->finish("2\n");
  const auto replies = take(client);
  EXPECT_LT(replies.find("1\n"), replies.find("2\n"));
}

TEST_F(Connections, ReadsAheadOnlyABoundedAmount) {
  keep_exchanges();
  const auto client = connect();
  std::string many;
  while (many.size() < 1 << 20) many += get;
  const auto sent = ::send(client.get(), many.data(), many.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  turn(50);
  const auto more = ::send(client.get(), many.data(), many.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  turn(50);
  EXPECT_EQ(kept.size(), 1U);
  EXPECT_GT(sent, 0);
  EXPECT_LE(std::max<ssize_t>(more, 0), 128 << 10) << "the server went on reading";
}

TEST_F(Connections, InvitesABodyThatIsExpected) {
  const auto client = connect();
  send(client, "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
  EXPECT_EQ(receive_until(client, "\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
  EXPECT_TRUE(application.requests.empty());
  send(client, "hi");
  EXPECT_TRUE(receive_until(client, "\n").ends_with("POST / hi\n"));
}

TEST_F(Connections, DoesNotInviteABodyTooLong) {
  auto limits = fast_limits();
  limits.body_bytes = 10;
  restart(limits);
  const auto client = connect();
  send(client, "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 11\r\n\r\n");
  EXPECT_TRUE(receive_all(client).starts_with("HTTP/1.1 413 Content Too Large\r\n"));
}

TEST_F(Connections, RefusesAChunkedBodyOnceItIsTooLong) {
  auto limits = fast_limits();
  limits.body_bytes = 10;
  restart(limits);
  const auto client = connect();
  send(client,
       "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nb\r\n01234567890\r\n");
  EXPECT_TRUE(receive_all(client).starts_with("HTTP/1.1 413 "));
  EXPECT_TRUE(application.requests.empty());
}

TEST_F(Connections, TakesABodyOfManyMegabytes) {
  const std::string body(20 << 20, 'x');
  const auto client = connect();
  send(client,
       "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n");
  application.answer = [](Exchange& exchange) {
    ASSERT_TRUE(exchange.start(200, "OK", {}));
    exchange.finish("ok\n");
  };
  send(client, body);
  EXPECT_TRUE(receive_until(client, "\n").ends_with("ok\n"));
  ASSERT_EQ(application.requests.size(), 1U);
  EXPECT_FALSE(application.requests[0].body_in_memory);
  EXPECT_TRUE(application.requests[0].body == body);
}

TEST_F(Connections, AnswersAClientThatShutItsSideAfterTheRequest) {
  const auto client = connect();
  send(client, get);
  shutdown(client.get(), SHUT_WR);
  EXPECT_TRUE(receive_all(client).ends_with("GET /\n"));
  EXPECT_EQ(observer.closed, 1);
}

TEST_F(Connections, AnswersAClientThatShutItsSideWhileTheApplicationWorks) {
  keep_exchanges();
  const auto client = connect();
  send(client, get);
  turn();
  shutdown(client.get(), SHUT_WR);
  turn();
  ASSERT_EQ(kept.size(), 1U);
  EXPECT_TRUE(kept[0]->client_connected());
  ASSERT_TRUE(kept[0]->start(200, "OK", {}));
  kept[0]->finish("late\n");
  EXPECT_TRUE(receive_all(client).ends_with("late\n"));
}

TEST_F(Connections, ClosesOnHalfARequest) {
  const auto client = connect();
  send(client, "GET / HTTP/1.1\r\nHo");
  shutdown(client.get(), SHUT_WR);
  EXPECT_EQ(receive_all(client), "");
  EXPECT_TRUE(application.requests.empty());
}

TEST_F(Connections, KeepsTheExchangeOfAClientThatWentAwayUntilItIsFinished) {
  keep_exchanges();
  {
    const auto client = connect();
    send(client, get);
    turn();
  }
  turn();
  ASSERT_EQ(kept.size(), 1U);
  EXPECT_FALSE(kept[0]->client_connected());
  EXPECT_EQ(observer.done, 0);
  EXPECT_EQ(server->connection_count(), 1U);
  ASSERT_TRUE(kept[0]->start(200, "OK", {}));
  const auto written = kept[0]->write("x");
  ASSERT_FALSE(written);
  EXPECT_EQ(written.error().code(), ErrorCode::unavailable);
  kept[0]->finish();
  turn();
  EXPECT_EQ(observer.done, 1);
  EXPECT_EQ(observer.closed, 1);
  EXPECT_EQ(server->connection_count(), 0U);
}

TEST_F(Connections, SurvivesAClientThatGoesAwayInTheMiddleOfTheReply) {
  const std::string part(1 << 20, 'x');
  auto client = connect();
  application.answer = [&](Exchange& exchange) {
    ASSERT_TRUE(exchange.start(200, "OK", {}));
    EXPECT_TRUE(exchange.write(part));
    client.reset();
    bool gone = false;
    for (int i = 0; i < 4 && !gone; ++i) gone = !exchange.write(part);
    exchange.finish();
  };
  send(client, get);
  turn();
  EXPECT_EQ(observer.done, 1);
  EXPECT_EQ(server->connection_count(), 0U);
}

TEST_F(Connections, SpoolsTheReplyToASlowReaderAndHoldsNoApplication) {
  const std::string part(1 << 20, 'x');
  const auto client = connect();
  application.answer = [&](Exchange& exchange) {
    ASSERT_TRUE(exchange.start(200, "OK", {}));
    for (int i = 0; i < 16; ++i) ASSERT_TRUE(exchange.write(part));
    exchange.finish("end");
  };
  send(client, get);
  turn();
  EXPECT_EQ(observer.in_calls, 0);
  EXPECT_EQ(observer.done, 0);
  const auto other = connect();
  application.answer = [](Exchange& exchange) {
    ASSERT_TRUE(exchange.start(200, "OK", {}));
    exchange.finish("quick\n");
  };
  EXPECT_TRUE(ask(other, get).ends_with("quick\n"));
  const auto reply = receive_until(client, "3\r\nend\r\n0\r\n\r\n");
  EXPECT_GT(reply.size(), 16U << 20);
  EXPECT_TRUE(turn_until([&] { return observer.done == 2; }));
  EXPECT_TRUE(ask(client, get).ends_with("quick\n")) << "the connection goes on";
}

TEST_F(Connections, GivesTheApplicationItsTimeOnceTheReaderHasTakenWhatWasSent) {
  auto limits = fast_limits();
  limits.write_stall = milliseconds(50);
  restart(limits);
  keep_exchanges();
  const auto client = connect();
  send(client, get);
  turn();
  ASSERT_EQ(kept.size(), 1U);
  ASSERT_TRUE(kept[0]->start(200, "OK", {}));
  ASSERT_TRUE(kept[0]->write(std::string(1 << 20, 'x')));
  // Without a turn of the loop, as within one call.
  std::string reply;
  for (int i = 0; i < 200; ++i) {
    reply += take(client);
    ASSERT_TRUE(kept[0]->write("."));
  }
  EXPECT_GT(reply.size(), 1U << 20);
  EXPECT_FALSE(turn_until([&] { return !kept[0]->client_connected(); }, milliseconds(300)));
  kept[0]->finish("end");
  EXPECT_TRUE(receive_until(client, "3\r\nend\r\n0\r\n\r\n").ends_with("end\r\n0\r\n\r\n"));
  EXPECT_TRUE(turn_until([&] { return observer.done == 1; }));
}

TEST_F(Connections, CutsAReaderThatTakesNothing) {
  auto limits = fast_limits();
  limits.write_stall = milliseconds(50);
  restart(limits);
  const auto client = connect();
  application.answer = [](Exchange& exchange) {
    ASSERT_TRUE(exchange.start(200, "OK", {}));
    exchange.finish(std::string(8 << 20, 'x'));
  };
  send(client, get);
  EXPECT_TRUE(turn_until([&] { return observer.closed == 1; }));
  EXPECT_EQ(observer.done, 1);
}

TEST_F(Connections, CutsAReaderThatDoesNotEvenTakeItsInvitation) {
  auto limits = fast_limits();
  limits.write_stall = milliseconds(50);
  restart(limits);
  for (const bool sends_body : {true, false}) {
    int ends[2];
    ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    const Fd client(ends[0]);
    const std::string earlier(64 << 10, 'x');
    while (::send(ends[1], earlier.data(), earlier.size(), MSG_DONTWAIT | MSG_NOSIGNAL) > 0) {
    }
    ASSERT_TRUE(server->adopt(Fd(ends[1])));
    const int closed_before = observer.closed;
    send(client, "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
    turn();
    if (sends_body) send(client, "hi");
    EXPECT_TRUE(
        turn_until([&] { return observer.closed == closed_before + 1; }, std::chrono::seconds(2)))
        << sends_body;
  }
}

TEST_F(Connections, TellsAClientThatIsTooSlowWithItsHead) {
  auto limits = fast_limits();
  limits.head_time = milliseconds(50);
  restart(limits);
  const auto client = connect();
  send(client, "GET / HT");
  EXPECT_TRUE(receive_all(client).starts_with("HTTP/1.1 408 Request Timeout\r\n"));
}

TEST_F(Connections, ClosesAClientThatSaysNothing) {
  auto limits = fast_limits();
  limits.head_time = milliseconds(50);
  restart(limits);
  const auto client = connect();
  EXPECT_EQ(receive_all(client), "");
}

TEST_F(Connections, TellsAClientThatStopsWithinItsBody) {
  auto limits = fast_limits();
  limits.body_idle = milliseconds(50);
  restart(limits);
  const auto client = connect();
  send(client, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc");
  EXPECT_TRUE(receive_all(client).starts_with("HTTP/1.1 408 "));
  EXPECT_TRUE(application.requests.empty());
}

TEST_F(Connections, ClosesAnIdleConnectionAfterTheKeepAliveTime) {
  auto limits = fast_limits();
  limits.keepalive = milliseconds(50);
  restart(limits);
  const auto client = connect();
  EXPECT_TRUE(ask(client, get).ends_with("GET /\n"));
  EXPECT_EQ(receive_all(client), "");
}

TEST_F(Connections, AnnouncesTheCloseWhereThereIsNoKeepAlive) {
  auto limits = fast_limits();
  limits.keepalive = milliseconds(0);
  restart(limits);
  const auto client = connect();
  send(client, get);
  EXPECT_NE(receive_all(client).find("Connection: close\r\n"), std::string::npos);
}

TEST_F(Connections, LetsTheClientReadTheRefusalOfABodyItIsStillSending) {
  const auto client = connect();
  send(client, "POST / HTTP/1.1\r\n\r\n" + std::string(150'000, 'x'));
  turn();
  EXPECT_TRUE(receive_until(client, "\n").starts_with("HTTP/1.1 400 "));
}

TEST_F(Connections, RefusesHeadWithAHeadAlone) {
  auto limits = fast_limits();
  limits.body_bytes = 10;
  restart(limits);
  for (const std::string_view rest : {"\r\n", "Host: a\r\nContent-Length: 11\r\n\r\n"}) {
    const auto client = connect();
    send(client, "HEAD / HTTP/1.1\r\n" + std::string(rest));
    const auto reply = receive_all(client);
    EXPECT_TRUE(reply.starts_with("HTTP/1.1 4")) << reply;
    EXPECT_TRUE(reply.ends_with("\r\n\r\n")) << reply;
    EXPECT_NE(reply.find("Content-Length: "), std::string::npos) << reply;
  }
}

TEST_F(Connections, GivesUpOnAClientThatNeverStopsSendingAfterARefusal) {
  const auto client = connect();
  send(client, "nonsense\r\n\r\n");
  const std::string more(64 << 10, 'x');
  EXPECT_TRUE(turn_until([&] {
    (void)::send(client.get(), more.data(), more.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    return observer.closed == 1;
  }));
}

TEST_F(Connections, AnswersForAnApplicationThatGivesUp) {
  const auto client = connect();
  application.answer = [](Exchange& exchange) { exchange.abort(); };
  EXPECT_TRUE(ask(client, get).starts_with("HTTP/1.1 500 Internal Server Error\r\n"));
  application.answer = [](Exchange& exchange) {
    ASSERT_TRUE(exchange.start(200, "OK", {}));
    exchange.abort();
  };
  EXPECT_TRUE(ask(client, get).starts_with("HTTP/1.1 500 ")) << "nothing of the 200 was sent";
}

TEST_F(Connections, CutsAReplyThatIsAbortedInItsMiddle) {
  const auto client = connect();
  application.answer = [](Exchange& exchange) {
    ASSERT_TRUE(exchange.start(200, "OK", {}));
    ASSERT_TRUE(exchange.write("half"));
    EXPECT_TRUE(exchange.head_sent());
    exchange.abort();
  };
  send(client, get);
  const auto reply = receive_all(client);
  EXPECT_TRUE(reply.ends_with("4\r\nhalf\r\n")) << reply;
}

TEST_F(Connections, ClosesWhenABodyFallsShortOfItsLength) {
  const auto client = connect();
  application.answer = [](Exchange& exchange) {
    const Header length{"Content-Length", "10"};
    ASSERT_TRUE(exchange.start(200, "OK", {&length, 1}));
    exchange.finish("abc");
  };
  send(client, get);
  EXPECT_TRUE(receive_all(client).ends_with("\r\n\r\nabc"));
}

TEST_F(Connections, EndureAnApplicationThatDoesEverythingTwice) {
  const auto client = connect();
  application.answer = [](Exchange& exchange) {
    EXPECT_FALSE(exchange.write("early"));
    ASSERT_TRUE(exchange.start(201, "A", {}));
    ASSERT_TRUE(exchange.start(202, "B", {})) << "nothing was sent yet";
    ASSERT_TRUE(exchange.write("x"));
    EXPECT_FALSE(exchange.start(203, "C", {}));
    exchange.finish("y\n");
    exchange.finish("z");
    exchange.abort();
    EXPECT_FALSE(exchange.write("late"));
    EXPECT_FALSE(exchange.start(204, "D", {}));
  };
  const auto reply = ask(client, get);
  EXPECT_TRUE(reply.starts_with("HTTP/1.1 202 B\r\n")) << reply;
  EXPECT_EQ(observer.done, 1);
}

TEST_F(Connections, FinishesTheRepliesOfExchangesFromOutsideInAnyOrder) {
  keep_exchanges();
  const auto one = connect();
  const auto two = connect();
  send(one, get);
  send(two, get);
  turn();
  ASSERT_EQ(kept.size(), 2U);
  for (auto* exchange : {kept[1], kept[0]}) {
    ASSERT_TRUE(exchange->start(200, "OK", {}));
    exchange->finish("done\n");
  }
  EXPECT_TRUE(receive_until(one, "\n").ends_with("done\n"));
  EXPECT_TRUE(receive_until(two, "\n").ends_with("done\n"));
}

TEST_F(Connections, EndTheLoopWithAnErrorWhenTheApplicationClosesTheirDescriptor) {
  auto client = connect();
  application.answer = [](Exchange& exchange) {
    for (int fd = 3; fd < 256; ++fd) {
      int type = 0;
      socklen_t length = sizeof type;
      if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) != 0) continue;
      ::close(fd);
    }
    if (exchange.start(200, "OK", {})) exchange.finish("x\n");
  };
  send(client, get);
  const auto result = reactor->run();
  ASSERT_FALSE(result);
  EXPECT_NE(result.error().message().find("closed by the application"), std::string::npos)
      << result.error().message();
  application.answer = nullptr;
  client.release();
}

class Origins : public Connections {
 protected:
  /// A socket pair's ends are unix sockets.
  void trust(const std::vector<std::string>& names, bool proxy_protocol = false) {
    auto limits = fast_limits();
    limits.trusted_peers = *TrustedPeers::create(names);
    limits.proxy_protocol = proxy_protocol;
    limits.head_time = milliseconds(200);
    restart(limits);
    application.answer = [this](Exchange& exchange) {
      const Request& request = exchange.request();
      std::string host;
      for (const Header& header : request.headers) {
        if (header.name == "Host") host = header.value;
      }
      seen.push_back(request.endpoints->remote_address + " " + std::string(request.scheme) + " " +
                     host);
      ASSERT_TRUE(exchange.start(200, "OK", {}));
      exchange.finish("ok\n");
    };
  }
  std::vector<std::string> seen;
};
constexpr std::string_view forwarded_get =
    "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: https\r\n"
    "X-Forwarded-Host: shop.example\r\n\r\n";

TEST_F(Origins, AreWhatATrustedProxySays) {
  trust({"unix:"});
  const auto client = connect();
  ask(client, forwarded_get);
  ask(client, get);
  EXPECT_EQ(seen, (std::vector<std::string>{"192.0.2.7 https shop.example", " http a"}))
      << "nothing of one request stays for the next";
}

TEST_F(Origins, AreNotWhatAnybodySays) {
  trust({"127.0.0.1"});
  const auto client = connect();
  ask(client, forwarded_get);
  EXPECT_EQ(seen, std::vector<std::string>{" http a"});
  ASSERT_EQ(application.requests.size(), 1U);
  EXPECT_EQ(application.requests[0].headers.size(), 1U) << "the headers are dropped";
}

TEST_F(Origins, AreWhatAProxyHeaderSays) {
  trust({"unix:"}, true);
  const auto client = connect();
  ask(client, "PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n" + std::string(get));
  ask(client, get);
  EXPECT_EQ(seen, (std::vector<std::string>{"192.0.2.7 http a", "192.0.2.7 http a"}));
}

TEST_F(Origins, HaveBothEndsThatAProxyHeaderNames) {
  trust({"unix:"}, true);
  Endpoints endpoints;
  application.answer = [&](Exchange& exchange) {
    endpoints = *exchange.request().endpoints;
    exchange.abort();
  };
  for (const std::string& header :
       {std::string("PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n"),
        std::string("\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\2\7\xc6\x33\x64\1\x12\x67\1\xbb",
                    28)}) {
    endpoints = {};
    const auto client = connect();
    ask(client, header + std::string(get));
    EXPECT_EQ(endpoints.remote_address, "192.0.2.7");
    EXPECT_EQ(endpoints.remote_port, "4711");
    EXPECT_EQ(endpoints.local_address, "198.51.100.1");
    EXPECT_EQ(endpoints.local_port, "443");
  }
}

TEST_F(Origins, OfAProxyHeaderDecideWhoIsBelieved) {
  trust({"unix:", "10.0.0.0/8"}, true);
  const auto one = connect();
  ask(one, "PROXY TCP4 192.0.2.9 198.51.100.1 4711 443\r\n" + std::string(forwarded_get));
  const auto two = connect();
  ask(two, "PROXY TCP4 10.1.1.1 198.51.100.1 4711 443\r\n" + std::string(forwarded_get));
  const auto three = connect();
  ask(three, "PROXY UNKNOWN\r\n" + std::string(forwarded_get));
  EXPECT_EQ(seen, (std::vector<std::string>{"192.0.2.9 http a", "192.0.2.7 https shop.example",
                                            " http a"}));
}

TEST_F(Origins, OfAProxysOwnConnectionAreItsOwn) {
  trust({"unix:"}, true);
  const auto client = connect();
  ask(client, std::string("\r\n\r\n\0\r\nQUIT\n\x20\0\0\0", 16) + std::string(forwarded_get));
  EXPECT_EQ(seen, std::vector<std::string>{"192.0.2.7 https shop.example"});
}

TEST_F(Origins, MayComeByteByByte) {
  trust({"unix:"}, true);
  const auto client = connect();
  const auto bytes = "PROXY TCP6 2001:db8::7 ::1 4711 443\r\n" + std::string(get);
  for (const char c : bytes) {
    send(client, {&c, 1});
    turn(1);
  }
  EXPECT_TRUE(receive_until(client, "\n").ends_with("ok\n"));
  EXPECT_EQ(seen, std::vector<std::string>{"2001:db8::7 http a"});
}

TEST_F(Origins, MustBeSaidByAProxyThatSpeaksTheProtocol) {
  trust({"unix:"}, true);
  const auto client = connect();
  send(client, get);
  EXPECT_EQ(receive_all(client), "");
  EXPECT_TRUE(seen.empty());
  EXPECT_EQ(observer.closed, 1);
}

TEST_F(Origins, AreNotTakenFromAProxyHeaderOfAnybody) {
  trust({"127.0.0.1"}, true);
  const auto forger = connect();
  send(forger, "PROXY TCP4 127.0.0.1 198.51.100.1 4711 443\r\n" + std::string(get));
  EXPECT_TRUE(receive_all(forger).starts_with("HTTP/1.1 501 "));
  EXPECT_TRUE(seen.empty());
  const auto other_forger = connect();
  send(other_forger,
       std::string("\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x7f\0\0\1\x7f\0\0\1\0\1\0\2", 28) +
           std::string(get));
  EXPECT_TRUE(receive_all(other_forger).starts_with("HTTP/1.1 400 "));
  EXPECT_TRUE(seen.empty());
  const auto honest = connect();
  EXPECT_TRUE(ask(honest, get).ends_with("ok\n"));
}

TEST_F(Origins, AreNotTakenFromAProxyHeaderThatNobodyAskedFor) {
  trust({"unix:"});
  const auto client = connect();
  send(client, "PROXY TCP4 127.0.0.1 198.51.100.1 4711 443\r\n" + std::string(get));
  EXPECT_TRUE(receive_all(client).starts_with("HTTP/1.1 501 "));
  EXPECT_TRUE(seen.empty());
}

TEST_F(Origins, AreNotAwaitedForEver) {
  trust({"unix:"}, true);
  const auto client = connect();
  send(client, "PROXY TCP4 192.");
  EXPECT_EQ(receive_all(client), "");
}

TEST_F(Connections, SendInterimResponsesBeforeTheReply) {
  application.answer = [](Exchange& exchange) {
    const Header link{"Link", "</a.css>; rel=preload"};
    EXPECT_TRUE(exchange.send_interim(103, {&link, 1}));
    ASSERT_TRUE(exchange.start(200, "OK", {}));
    EXPECT_TRUE(exchange.send_interim(102, {})) << "nothing of the 200 was sent";
    EXPECT_FALSE(exchange.head_sent());
    ASSERT_TRUE(exchange.write("x"));
    const auto late = exchange.send_interim(103, {});
    ASSERT_FALSE(late);
    EXPECT_EQ(late.error().code(), ErrorCode::application);
    exchange.finish("y\n");
    EXPECT_FALSE(exchange.send_interim(103, {}));
  };
  const auto client = connect();
  send(client, get);
  const auto reply = receive_until(client, "0\r\n\r\n");
  EXPECT_TRUE(
      reply.starts_with("HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n"
                        "HTTP/1.1 102 Processing\r\n\r\n"
                        "HTTP/1.1 200 OK\r\n"))
      << reply;
}

TEST_F(Connections, SendNoInterimResponseToHttp10) {
  application.answer = [](Exchange& exchange) {
    EXPECT_TRUE(exchange.send_interim(103, {}));
    ASSERT_TRUE(exchange.start(200, "OK", {}));
    exchange.finish("x\n");
  };
  const auto client = connect();
  send(client, "GET / HTTP/1.0\r\n\r\n");
  EXPECT_TRUE(receive_all(client).starts_with("HTTP/1.1 200 OK\r\n"));
}

TEST_F(Connections, TellAnApplicationThatSendsAnInterimResponseThatTheClientIsGone) {
  keep_exchanges();
  {
    const auto client = connect();
    send(client, get);
    turn();
  }
  turn();
  ASSERT_EQ(kept.size(), 1U);
  const auto sent = kept[0]->send_interim(103, {});
  ASSERT_FALSE(sent);
  EXPECT_EQ(sent.error().code(), ErrorCode::unavailable);
  kept[0]->abort();
}

TEST_F(Connections, NeverInviteABodyWithAnUnknownExpectation) {
  const auto client = connect();
  send(client, "POST / HTTP/1.1\r\nHost: a\r\nExpect: 200-ok\r\nContent-Length: 2\r\n\r\n");
  EXPECT_TRUE(receive_all(client).starts_with("HTTP/1.1 417 Expectation Failed\r\n"));
}

TEST_F(Connections, InviteAChunkedBodyAndRefuseItOnceItIsTooLong) {
  auto limits = fast_limits();
  limits.body_bytes = 3;
  restart(limits);
  const auto client = connect();
  send(client,
       "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n");
  EXPECT_EQ(receive_until(client, "\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
  send(client, "4\r\nabcd\r\n0\r\n\r\n");
  EXPECT_TRUE(receive_all(client).starts_with("HTTP/1.1 413 "));
}

TEST_F(Connections, InviteNoBodyOfHttp10) {
  const auto client = connect();
  send(client, "POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
  turn();
  EXPECT_EQ(take(client), "");
  send(client, "hi");
  EXPECT_TRUE(receive_all(client).starts_with("HTTP/1.1 200 "));
}

TEST_F(Connections, DoNotLetAHeadThatTricklesInTakeLonger) {
  auto limits = fast_limits();
  limits.head_time = milliseconds(100);
  limits.field_bytes = limits.head_bytes = 1 << 20;
  restart(limits);
  const auto client = connect();
  send(client, "GET / HTTP/1.1\r\nHost: a\r\nX: ");
  std::string reply;
  const auto start = std::chrono::steady_clock::now();
  EXPECT_TRUE(turn_until([&] {
    (void)::send(client.get(), "x", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
    reply += take(client);
    return reply.find("\r\n\r\n") != std::string::npos;
  }));
  EXPECT_TRUE(reply.starts_with("HTTP/1.1 408 ")) << reply;
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(5));
}

TEST_F(Connections, DoNotTakeEmptyProgressForABody) {
  auto limits = fast_limits();
  limits.body_idle = milliseconds(100);
  restart(limits);
  const auto client = connect();
  send(client, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
  std::string reply;
  EXPECT_TRUE(turn_until([&] {
    (void)::send(client.get(), "0", 1, MSG_NOSIGNAL | MSG_DONTWAIT);  // zeros of a size
    reply += take(client);
    return reply.find("\r\n\r\n") != std::string::npos;
  }));
  EXPECT_TRUE(reply.starts_with("HTTP/1.1 408 ")) << reply;
}

TEST_F(Connections, RefuseADeclaredBodyThatIsTooLongBeforeReadingIt) {
  auto limits = fast_limits();
  limits.body_bytes = 10;
  restart(limits);
  const auto client = connect();
  send(client, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n");
  EXPECT_TRUE(receive_all(client).starts_with("HTTP/1.1 413 ")) << "no byte of it was sent";
}

}  // namespace
}  // namespace green::http
