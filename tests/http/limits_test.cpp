#include "daemon/http/limits.h"

#include <gtest/gtest.h>

namespace green::http {
namespace {

using std::chrono::seconds;

TEST(Limits, AreByDefaultThoseOfTheSettings) {
  const auto made = make_limits(default_settings());
  ASSERT_TRUE(made);
  const Limits limits;
  EXPECT_EQ(made->request_line, limits.request_line);
  EXPECT_EQ(made->header_count, limits.header_count);
  EXPECT_EQ(made->field_bytes, limits.field_bytes);
  EXPECT_EQ(made->head_bytes, limits.head_bytes);
  EXPECT_EQ(made->body_bytes, limits.body_bytes);
  EXPECT_EQ(made->body_memory, limits.body_memory);
  EXPECT_EQ(made->output_memory, limits.output_memory);
  EXPECT_EQ(made->spool_directory, limits.spool_directory);
  EXPECT_EQ(made->connections, limits.connections);
  EXPECT_EQ(made->head_time, limits.head_time);
  EXPECT_EQ(made->body_idle, limits.body_idle);
  EXPECT_EQ(made->write_stall, limits.write_stall);
  EXPECT_EQ(made->keepalive, limits.keepalive);
  EXPECT_EQ(made->websocket_message_bytes, limits.websocket_message_bytes);
  EXPECT_EQ(made->websocket_ping_interval, limits.websocket_ping_interval);
  EXPECT_EQ(made->websocket_ping_timeout, limits.websocket_ping_timeout);
  EXPECT_EQ(made->websocket_compression, limits.websocket_compression);
  EXPECT_EQ(made->header_map, limits.header_map);
  EXPECT_EQ(made->proxy_protocol, limits.proxy_protocol);
}

TEST(Limits, TrustProxiesOnThisMachineByDefault) {
  const auto limits = make_limits(default_settings());
  for (const char* peer : {"127.0.0.1", "::1", ""}) {
    EXPECT_TRUE(limits->trusted_peers.trusts_peer(peer)) << peer;
  }
  EXPECT_FALSE(limits->trusted_peers.trusts_peer("127.0.0.2"));
  EXPECT_FALSE(limits->trusted_peers.trusts_peer("10.0.0.1"));
}

TEST(Limits, TakeEverySettingThatIsTheirs) {
  Settings settings = default_settings();
  settings.limit_request_line = 101;
  settings.limit_request_fields = 102;
  settings.limit_request_field_size = 103;
  settings.limit_request_head = 1104;
  settings.limit_request_body = 105;
  settings.body_buffer_size = 106;
  settings.reply_buffer_size = 107;
  settings.worker_connections = 108;
  settings.request_head_timeout = seconds(109);
  settings.request_body_timeout = seconds(110);
  settings.send_timeout = seconds(111);
  settings.keepalive = seconds(112);
  settings.spool_directory = "/srv/spool";
  settings.forwarded_allow_ips = {"10.0.0.0/8"};
  settings.proxy_protocol = "on";
  settings.header_map = "refuse";
  settings.websocket_max_message_size = 113;
  settings.websocket_ping_interval = seconds(114);
  settings.websocket_ping_timeout = seconds(115);
  settings.websocket_compression = "off";
  const auto limits = make_limits(settings);
  ASSERT_TRUE(limits);
  EXPECT_EQ(limits->request_line, 101U);
  EXPECT_EQ(limits->header_count, 102U);
  EXPECT_EQ(limits->field_bytes, 103U);
  EXPECT_EQ(limits->head_bytes, 1104U);
  EXPECT_EQ(limits->body_bytes, 105U);
  EXPECT_EQ(limits->body_memory, 106U);
  EXPECT_EQ(limits->output_memory, 107U);
  EXPECT_EQ(limits->connections, 108U);
  EXPECT_EQ(limits->head_time, seconds(109));
  EXPECT_EQ(limits->body_idle, seconds(110));
  EXPECT_EQ(limits->write_stall, seconds(111));
  EXPECT_EQ(limits->keepalive, seconds(112));
  EXPECT_EQ(limits->spool_directory, "/srv/spool");
  EXPECT_TRUE(limits->trusted_peers.trusts_peer("10.1.1.1"));
  EXPECT_FALSE(limits->trusted_peers.trusts_peer("127.0.0.1"));
  EXPECT_TRUE(limits->proxy_protocol);
  EXPECT_EQ(limits->header_map, HeaderMap::refuse);
  EXPECT_EQ(limits->websocket_message_bytes, 113U);
  EXPECT_EQ(limits->websocket_ping_interval, seconds(114));
  EXPECT_EQ(limits->websocket_ping_timeout, seconds(115));
  EXPECT_FALSE(limits->websocket_compression);
}

TEST(Limits, AreNotMadeOfAProxyThatIsNoAddress) {
  Settings settings = default_settings();
  settings.forwarded_allow_ips = {"proxy"};
  const auto limits = make_limits(settings);
  ASSERT_FALSE(limits);
  EXPECT_TRUE(limits.error().message().starts_with("forwarded_allow_ips: "));
}

}  // namespace
}  // namespace green::http
