#include "daemon/manager/reexec_state.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "common/names.h"
#include "common/worker_channel.h"
#include "common/worker_spec.h"

namespace green::manager {
namespace {

using nlohmann::json;

/// 4096 workers take less than 1 MiB; settings may add certificates and the like.
constexpr std::size_t longest_state = 16U << 20;

json to_json(const SavedProcess& process) {
  return {{"pid", process.pid},
          {"pidfd", process.pidfd},
          {"channel", process.channel},
          {"stacks", process.stacks},
          {"slot", process.slot},
          {"state", process.state},
          {"started_realtime_usec", process.started_realtime_usec},
          {"started_monotonic_usec", process.started_monotonic_usec},
          {"drain_deadline_usec", process.drain_deadline_usec}};
}

SavedProcess process_from(const json& from) {
  return {.pid = from.at("pid"),
          .pidfd = from.at("pidfd"),
          .channel = from.at("channel"),
          .stacks = from.value("stacks", -1),
          .slot = from.at("slot"),
          .state = from.at("state"),
          .started_realtime_usec = from.at("started_realtime_usec"),
          .started_monotonic_usec = from.at("started_monotonic_usec"),
          .drain_deadline_usec = from.at("drain_deadline_usec")};
}

json to_json(const SavedGeneration& generation) {
  json workers = json::array();
  for (const SavedProcess& worker : generation.workers) workers.push_back(to_json(worker));
  return {{"number", generation.number},
          {"serves", generation.serves},
          {"settings", generation.settings},
          {"worker_count", generation.worker_count},
          {"past_requests", generation.past_requests},
          {"deaths", generation.deaths},
          {"zygote", generation.zygote ? to_json(*generation.zygote) : json()},
          {"workers", std::move(workers)}};
}

SavedGeneration generation_from(const json& from) {
  SavedGeneration generation{.number = from.at("number"),
                             .serves = from.at("serves"),
                             .settings = from.at("settings"),
                             .worker_count = from.at("worker_count"),
                             .past_requests = from.at("past_requests"),
                             .deaths = from.at("deaths"),
                             .zygote = std::nullopt,
                             .workers = {}};
  if (const json& zygote = from.at("zygote"); !zygote.is_null())
    generation.zygote = process_from(zygote);
  for (const json& worker : from.at("workers")) generation.workers.push_back(process_from(worker));
  return generation;
}

SavedState state_from(const json& from) {
  SavedState state{.version = from.at("version"),
                   .site = from.at("site"),
                   .sockets_from_systemd = from.at("sockets_from_systemd"),
                   .listeners = {},
                   .scoreboard = from.at("scoreboard"),
                   .slot_count = from.at("slot_count"),
                   .target_workers = from.at("target_workers"),
                   .last_generation = from.at("last_generation"),
                   .last_job = from.at("last_job"),
                   .reexec_job = from.at("reexec_job"),
                   .scale_job = std::nullopt,
                   .started_realtime_usec = from.at("started_realtime_usec"),
                   .started_monotonic_usec = from.value("started_monotonic_usec", std::uint64_t{0}),
                   .last_reload_realtime_usec = from.at("last_reload_realtime_usec"),
                   .last_reload_result = from.at("last_reload_result"),
                   .past_requests = from.at("past_requests"),
                   .past_deaths = from.at("past_deaths"),
                   .origins = from.value("origins", std::map<std::string, std::string>()),
                   .generations = {}};
  for (const json& listener : from.at("listeners"))
    state.listeners.push_back({.fd = listener.at("fd"),
                               .address = listener.at("address"),
                               .unlink_path = listener.at("unlink_path")});
  if (const json& job = from.at("scale_job"); !job.is_null())
    state.scale_job = SavedJob{.id = job.at("id"), .workers = job.at("workers")};
  for (const json& generation : from.at("generations"))
    state.generations.push_back(generation_from(generation));
  return state;
}

}  // namespace

std::vector<int> SavedState::descriptors() const {
  std::vector<int> all{scoreboard};
  const auto add = [&all](int fd) {
    if (fd >= 0) all.push_back(fd);
  };
  const auto add_process = [&add](const SavedProcess& process) {
    add(process.pidfd);
    add(process.channel);
    add(process.stacks);
  };
  for (const SavedListener& listener : listeners) add(listener.fd);
  for (const SavedGeneration& generation : generations) {
    if (generation.zygote) add_process(*generation.zygote);
    std::ranges::for_each(generation.workers, add_process);
  }
  return all;
}

std::string write_saved_state(const SavedState& state) {
  json listeners = json::array();
  for (const SavedListener& listener : state.listeners)
    listeners.push_back({{"fd", listener.fd},
                         {"address", listener.address},
                         {"unlink_path", listener.unlink_path}});
  json generations = json::array();
  for (const SavedGeneration& generation : state.generations)
    generations.push_back(to_json(generation));
  const json all = {
      {"format", reexec_format},
      {"worker_protocol", worker_protocol_version},
      {"version", state.version},
      {"site", state.site},
      {"sockets_from_systemd", state.sockets_from_systemd},
      {"listeners", std::move(listeners)},
      {"scoreboard", state.scoreboard},
      {"slot_count", state.slot_count},
      {"target_workers", state.target_workers},
      {"last_generation", state.last_generation},
      {"last_job", state.last_job},
      {"reexec_job", state.reexec_job},
      {"scale_job", state.scale_job
                        ? json{{"id", state.scale_job->id}, {"workers", state.scale_job->workers}}
                        : json()},
      {"started_realtime_usec", state.started_realtime_usec},
      {"started_monotonic_usec", state.started_monotonic_usec},
      {"last_reload_realtime_usec", state.last_reload_realtime_usec},
      {"last_reload_result", state.last_reload_result},
      {"past_requests", state.past_requests},
      {"past_deaths", state.past_deaths},
      {"origins", state.origins},
      {"generations", std::move(generations)},
  };
  // A path need not be UTF-8; one that is not is only shown.
  return all.dump(-1, ' ', false, json::error_handler_t::replace);
}

Result<SavedState> read_saved_state(std::string_view text) {
  try {
    const json from = json::parse(text);
    const std::uint32_t format = from.at("format");
    if (format != reexec_format)
      return fail(
          ErrorCode::protocol,
          fmt::format("the running greend's state is of format {}, this greend (version {}) "
                      "reads format {}; restart the site instead",
                      format, version, reexec_format));
    const std::uint32_t protocol = from.at("worker_protocol");
    if (protocol != worker_protocol_version)
      return fail(
          ErrorCode::protocol,
          fmt::format("the running workers speak protocol {}, this greend (version {}) speaks {}; "
                      "restart the site instead",
                      protocol, version, worker_protocol_version));
    SavedState state = state_from(from);
    if (std::ranges::count_if(state.generations, &SavedGeneration::serves) != 1)
      return fail(ErrorCode::protocol, "the running greend's state has no generation that serves");
    return state;
  } catch (const json::exception& error) {
    return fail(ErrorCode::protocol,
                fmt::format("the running greend's state can't be read: {}", error.what()));
  }
}

Result<SavedState> read_saved_state(int fd) {
  const auto text = read_text(fd, longest_state);
  if (!text) return fail(text.error());
  return read_saved_state(*text);
}

}  // namespace green::manager
