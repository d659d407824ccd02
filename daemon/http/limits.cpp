#include "daemon/http/limits.h"

namespace green::http {

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
  limits.header_map = settings.header_map == "refuse" ? HeaderMap::refuse : HeaderMap::drop;
  limits.trusted_peers = std::move(*trusted);
  limits.proxy_protocol = settings.proxy_protocol == "on";
  return limits;
}

}  // namespace green::http
