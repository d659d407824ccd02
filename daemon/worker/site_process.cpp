#include "daemon/worker/site_process.h"

#include <fmt/format.h>

#include <cstring>

#include "common/high_fd.h"
#include "common/names.h"

namespace green::worker {

Result<SiteProcess> SiteProcess::receive(ReceivedMessage received, Fd& extra) {
  const WorkerSpec& spec = received.message.spec;
  if (received.message.type != MessageType::spec)
    return fail(ErrorCode::protocol, "the first message on the channel is not a spec");
  if (spec.protocol_version != worker_protocol_version)
    return fail(
        ErrorCode::protocol,
        fmt::format("green-worker speaks protocol {}, greend {}: they are of different versions",
                    worker_protocol_version, spec.protocol_version));
  const std::size_t expected = spec_listeners + spec.listener_count;
  auto& descriptors = received.descriptors;
  if (descriptors.size() != expected && descriptors.size() != expected + 1)
    return fail(ErrorCode::protocol, fmt::format("a spec with {} descriptors in place of {}",
                                                 descriptors.size(), expected));
  for (Fd& descriptor : descriptors) {
    auto high = move_high(std::move(descriptor));
    if (!high) return fail(std::move(high.error()));
    descriptor = std::move(*high);
  }
  const auto text = read_text(descriptors[spec_settings].get());
  if (!text) return fail(text.error());
  auto settings = settings_from_toml(*text);
  if (!settings) return fail(std::move(settings.error()).context("the settings of the spec"));
  auto scoreboard = Scoreboard::map(std::move(descriptors[spec_scoreboard]), spec.slot_count);
  if (!scoreboard) return fail(std::move(scoreboard.error()));
  auto low_descriptors = LowDescriptors::keep();
  if (!low_descriptors) return fail(std::move(low_descriptors.error()));
  SiteProcess process{.site = {spec.site.data(), ::strnlen(spec.site.data(), spec.site.size())},
                      .generation = spec.generation,
                      .settings = std::move(*settings),
                      .scoreboard = std::move(*scoreboard),
                      .listeners = {},
                      .low_descriptors = std::move(*low_descriptors)};
  for (std::size_t i = spec_listeners; i < expected; ++i)
    process.listeners.push_back(std::move(descriptors[i]));
  if (descriptors.size() > expected) extra = std::move(descriptors[expected]);
  return process;
}

LogLevel SiteProcess::maximum_log_level() const {
  return log_level_from_name(settings.log_level).value_or(LogLevel::info);
}

void SiteProcess::set_log_level(LogLevel level) {
  settings.log_level = log_level_name(level);
  log_set_level(level);
}

std::string SiteProcess::title() const {
  return fmt::format("green-worker: {} generation {}", site.empty() ? settings.app : site,
                     generation);
}

Result<void> send_with_text(int channel, Message message, std::string_view text) {
  if (text.empty()) return send_message(channel, message);
  const auto memfd = make_text_memfd("green-text", text);
  if (!memfd) return fail(memfd.error());
  const int descriptor = memfd->get();
  return send_message(channel, message, {&descriptor, 1});
}

Result<void> send_failure(int channel, MessageType type, std::uint32_t slot,
                          const python::LoadFailure& failure) {
  Message message;
  message.type = type;
  message.slot = slot;
  message.code = static_cast<std::int32_t>(failure.kind);
  return send_with_text(channel, message, failure.text);
}

int exit_status_of(const python::LoadFailure& failure) {
  return failure.kind == StartFailure::configuration ? exit_config : exit_failure;
}

}  // namespace green::worker
