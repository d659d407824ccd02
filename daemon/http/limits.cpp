#include "daemon/http/limits.h"

#include "common/access_format.h"

namespace green::http {
namespace {

/// What the access log needs of each exchange.
Result<void> make_log_limits(const Settings& settings, Limits& limits) {
  const auto format = parse_access_format(settings.access_log_format);
  if (!format) return fail(Error(format.error()).context("access_log_format"));
  if (settings.access_log != "off") {
    limits.keeps_reply_head = format->names_reply_headers();
    if (settings.access_log == "journal" || format->is_json)
      limits.request_id = RequestIdUse::access_log;
  }
  if (settings.request_id == "environ") limits.request_id = RequestIdUse::environ;
  if (settings.request_id == "reply") limits.request_id = RequestIdUse::reply;
  return {};
}

}  // namespace

Result<Limits> make_limits(const Settings& settings) {
  auto trusted = TrustedPeers::create(settings.forwarded_allow_ips);
  if (!trusted) return fail(std::move(trusted.error()).context("forwarded_allow_ips"));
  const auto size = [](std::int64_t bytes) { return static_cast<std::size_t>(bytes); };
  Limits limits;
  limits.request_line = size(settings.limit_request_line);
  limits.header_count = size(settings.limit_request_fields);
  limits.field_bytes = size(settings.limit_request_field_size);
  limits.head_bytes = size(settings.limit_request_head);
  limits.body_bytes = static_cast<std::uint64_t>(settings.limit_request_body);
  limits.body_memory = size(settings.body_buffer_size);
  limits.output_memory = size(settings.reply_buffer_size);
  limits.spool_directory = settings.spool_directory;
  limits.connections = size(settings.worker_connections);
  limits.head_time = settings.request_head_timeout;
  limits.body_idle = settings.request_body_timeout;
  limits.write_stall = settings.send_timeout;
  limits.keepalive = settings.keepalive;
  // With time left for those that answer a last request.
  limits.drain_late = settings.graceful_timeout / 2;
  limits.drain_latest = settings.graceful_timeout * 4 / 5;
  limits.websocket_message_bytes = size(settings.websocket_max_message_size);
  limits.websocket_ping_interval = settings.websocket_ping_interval;
  limits.websocket_ping_timeout = settings.websocket_ping_timeout;
  limits.websocket_compression = settings.websocket_compression == "on";
  limits.header_map = settings.header_map == "refuse" ? HeaderMap::refuse : HeaderMap::drop;
  limits.trusted_peers = std::move(*trusted);
  limits.proxy_protocol = settings.proxy_protocol == "on";
  if (auto known = make_log_limits(settings, limits); !known) return fail(std::move(known.error()));
  return limits;
}

}  // namespace green::http
