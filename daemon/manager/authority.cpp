#include "daemon/manager/authority.h"

#include <fmt/format.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <fstream>
#include <span>
#include <utility>
#include <vector>

#include "common/log.h"
#include "common/scoreboard.h"
#include "common/text.h"
#include "daemon/manager/bus_preflight.h"

namespace green::manager {
namespace {

/// Of a connection to the bus, under way at a time.
constexpr std::ptrdiff_t most_of_a_caller = 64;
/// Of polkit, which may wait for a person; in all, and of a user.
constexpr std::ptrdiff_t most_at_polkit = 64;
constexpr std::ptrdiff_t most_of_a_user_at_polkit = 8;
constexpr std::uint64_t credentials_timeout_usec = 5'000'000;
/// Somebody may be looking for a password.
constexpr std::uint64_t polkit_timeout_usec = 120'000'000;
constexpr const char* inspecting_group = "green-admin";
constexpr std::uint32_t allow_interaction = 1;
constexpr int deepest_family = 1000;
/// Whoever is denied again and again does not fill the log.
constexpr std::uint32_t most_logged_denials = 20;
constexpr std::uint64_t denials_interval_usec = 10'000'000;

struct Credentials {
  bool has_user = false;
  std::uint32_t user = 0;
  std::uint32_t process = 0;
  bool has_groups = false;
  std::vector<std::uint32_t> groups;
};

/// a{sv} of GetConnectionCredentials; false: it is none.
bool read_credentials(sd_bus_message* reply, Credentials& found) {
  if (sd_bus_message_enter_container(reply, 'a', "{sv}") < 0) return false;
  while (sd_bus_message_enter_container(reply, 'e', "sv") > 0) {
    const char* key = nullptr;
    if (sd_bus_message_read(reply, "s", &key) < 0) return false;
    const std::string_view name(key);
    int read = 0;
    if (name == "UnixUserID") {
      read = sd_bus_message_read(reply, "v", "u", &found.user);
      found.has_user = read >= 0;
    } else if (name == "ProcessID") {
      read = sd_bus_message_read(reply, "v", "u", &found.process);
    } else if (name == "UnixGroupIDs") {
      const void* groups = nullptr;
      std::size_t size = 0;
      read = sd_bus_message_enter_container(reply, 'v', "au");
      if (read >= 0) read = sd_bus_message_read_array(reply, 'u', &groups, &size);
      if (read >= 0) {
        const std::span<const std::uint32_t> all(static_cast<const std::uint32_t*>(groups),
                                                 size / sizeof(std::uint32_t));
        found.groups.assign(all.begin(), all.end());
        found.has_groups = true;
        read = sd_bus_message_exit_container(reply);
      }
    } else {
      read = sd_bus_message_skip(reply, "v");
    }
    if (read < 0 || sd_bus_message_exit_container(reply) < 0) return false;
  }
  return sd_bus_message_exit_container(reply) >= 0;
}

std::string command_of(std::uint32_t process) {
  std::ifstream file(fmt::format("/proc/{}/comm", process));
  std::string name;
  std::getline(file, name);
  return printable(name);
}

std::string describe(const Credentials& caller) {
  const std::string command = command_of(caller.process);
  return fmt::format("uid {}, process {}{}", caller.user, caller.process,
                     command.empty() ? "" : fmt::format(" ({})", command));
}

/// Whether a user is in a group: by the caller's own groups where the bus tells them, else by the
/// user data base.
bool is_in_group(const Credentials& caller, const char* name) {
  const group* const entry = ::getgrnam(name);
  if (entry == nullptr) return false;
  const gid_t wanted = entry->gr_gid;
  if (caller.has_groups) return std::ranges::find(caller.groups, wanted) != caller.groups.end();
  const passwd* const user = ::getpwuid(caller.user);
  if (user == nullptr) return false;
  std::vector<gid_t> groups(64);
  int count = static_cast<int>(groups.size());
  if (::getgrouplist(user->pw_name, user->pw_gid, groups.data(), &count) < 0) {
    groups.resize(static_cast<std::size_t>(count));
    if (::getgrouplist(user->pw_name, user->pw_gid, groups.data(), &count) < 0) return false;
  }
  groups.resize(static_cast<std::size_t>(count));
  return std::ranges::find(groups, wanted) != groups.end();
}

/// 0: it can't be told.
pid_t parent_of(pid_t pid) {
  std::ifstream file(fmt::format("/proc/{}/stat", pid));
  std::string stat;
  std::getline(file, stat);
  const auto end_of_name = stat.rfind(')');
  if (end_of_name == std::string::npos || stat.size() < end_of_name + 5) return 0;
  pid_t parent = 0;
  const char* const begin = stat.data() + end_of_name + 4;  // ") S "
  std::from_chars(begin, stat.data() + stat.size(), parent);
  return parent;
}

}  // namespace

bool descends_from(pid_t pid, pid_t ancestor) {
  for (int depth = 0; pid > 1 && depth < deepest_family; ++depth) {
    if (pid == ancestor) return true;
    pid = parent_of(pid);
  }
  return false;
}

Authority::Authority(EventLoop& loop, std::string bus, std::string site)
    : loop_(loop), bus_name_(std::move(bus)), site_(std::move(site)) {}

int Authority::connect() {
  sd_bus* bus = nullptr;
  int error = sd_bus_new(&bus);
  if (error < 0) return error;
  bus_.reset(bus);
  error = sd_bus_set_address(bus, bus_address(bus_name_).c_str());
  if (error >= 0) error = sd_bus_set_bus_client(bus, 1);
  if (error >= 0) error = sd_bus_add_filter(bus, nullptr, &Authority::on_message, this);
  if (error >= 0) error = sd_bus_set_close_on_exit(bus, 0);
  if (error >= 0) error = sd_bus_start(bus);
  if (error >= 0) error = sd_bus_attach_event(bus, loop_.handle(), SD_EVENT_PRIORITY_NORMAL);
  if (error < 0) bus_.reset();
  return error;
}

int Authority::on_message(sd_bus_message* message, void* data, sd_bus_error*) {
  auto* const self = static_cast<Authority*>(data);
  if (sd_bus_message_is_signal(message, "org.freedesktop.DBus.Local", "Disconnected") > 0) {
    // It is on the stack: dropped in the loop's next turn, and with it what it was asked.
    auto deferred = self->loop_.add_defer([self] {
      self->pending_.clear();
      self->bus_.reset();
    });
    if (deferred)
      self->reconnect_ = std::move(*deferred);
    else
      log_error("{}", deferred.error().message());
  }
  return 0;
}

void Authority::ask(AccessQuestion question, Answer answer) {
  const std::uint64_t number = ++last_number_;
  auto& pending = *(pending_[number] = std::make_unique<Pending>());
  pending.authority = this;
  pending.number = number;
  pending.question = std::move(question);
  pending.answer = std::move(answer);
  pending.who = pending.question.sender;
  if (count([&pending](const Pending& other) {
        return other.question.sender == pending.question.sender;
      }) > most_of_a_caller)
    return settle(pending, "too many other calls of the same caller are being authorized");
  int error = bus_ == nullptr ? connect() : 0;
  if (error >= 0) error = ask_credentials(pending);
  if (error < 0) settle(pending, Error::from_errno("asking the bus who calls", -error).message());
}

std::ptrdiff_t Authority::count(const std::function<bool(const Pending&)>& counts) const {
  return std::ranges::count_if(pending_,
                               [&counts](const auto& entry) { return counts(*entry.second); });
}

int Authority::ask_credentials(Pending& pending) {
  sd_bus_message* call = nullptr;
  int error = sd_bus_message_new_method_call(bus_.get(), &call, "org.freedesktop.DBus",
                                             "/org/freedesktop/DBus", "org.freedesktop.DBus",
                                             "GetConnectionCredentials");
  if (error >= 0) error = sd_bus_message_append(call, "s", pending.question.sender.c_str());
  sd_bus_slot* slot = nullptr;
  if (error >= 0)
    error = sd_bus_call_async(bus_.get(), &slot, call, &Authority::on_credentials, &pending,
                              credentials_timeout_usec);
  pending.call.reset(slot);
  sd_bus_message_unref(call);
  return error;
}

int Authority::on_credentials(sd_bus_message* reply, void* data, sd_bus_error*) {
  auto& pending = *static_cast<Pending*>(data);
  pending.authority->judge(pending, reply);
  return 0;
}

void Authority::judge(Pending& pending, sd_bus_message* reply) {
  Credentials caller;
  if (sd_bus_message_is_method_error(reply, nullptr) > 0 || !read_credentials(reply, caller) ||
      !caller.has_user || caller.process == 0)
    return settle(pending, "the bus does not tell who calls");
  pending.who = describe(caller);
  const auto process = static_cast<pid_t>(caller.process);
  if (::kill(process, 0) < 0 && errno == ESRCH) return settle(pending, "the caller has ended");
  if (descends_from(process, ::getpid()))
    return settle(pending, "code of the site itself may not steer it");
  if (caller.user == 0) return settle(pending, {});
  const bool is_own_user = caller.user == ::geteuid();
  const bool has_polkit = bus_name_ == "system";
  if (is_own_user && !has_polkit) return settle(pending, {});
  if (pending.question.access == Access::inspect) {
    if (!is_own_user && is_in_group(caller, inspecting_group)) return settle(pending, {});
    return settle(pending, fmt::format("only root and group {} may see that", inspecting_group));
  }
  if (is_own_user) return settle(pending, "the user that the site runs as may not steer it");
  if (!has_polkit) return settle(pending, "only root and the user of greend may change a site");
  const auto is_of_user = [&caller](const Pending& other) { return other.user == caller.user; };
  if (count(is_of_user) >= most_of_a_user_at_polkit ||
      count([](const Pending& other) { return other.user.has_value(); }) >= most_at_polkit)
    return settle(pending, "too many others are being authorized; try again");
  pending.user = caller.user;
  if (const int error = ask_polkit(pending); error < 0)
    settle(pending, Error::from_errno("asking polkit", -error).message());
}

int Authority::ask_polkit(Pending& pending) {
  sd_bus_message* call = nullptr;
  int error = sd_bus_message_new_method_call(
      bus_.get(), &call, "org.freedesktop.PolicyKit1", "/org/freedesktop/PolicyKit1/Authority",
      "org.freedesktop.PolicyKit1.Authority", "CheckAuthorization");
  if (error >= 0)
    error =
        sd_bus_message_append(call, "(sa{sv})sa{ss}us", "system-bus-name", 1, "name", "s",
                              pending.question.sender.c_str(), pending.question.action.c_str(), 2,
                              "site", site_.c_str(), "member", pending.question.member.c_str(),
                              pending.question.may_ask_user ? allow_interaction : 0U, "");
  sd_bus_slot* slot = nullptr;
  if (error >= 0)
    error = sd_bus_call_async(bus_.get(), &slot, call, &Authority::on_polkit, &pending,
                              polkit_timeout_usec);
  pending.call.reset(slot);
  sd_bus_message_unref(call);
  return error;
}

int Authority::on_polkit(sd_bus_message* reply, void* data, sd_bus_error*) {
  auto& pending = *static_cast<Pending*>(data);
  Authority& self = *pending.authority;
  int is_authorized = 0;
  int is_challenge = 0;
  if (const sd_bus_error* const error = sd_bus_message_get_error(reply); error != nullptr) {
    log_debug("polkit: {}: {}", error->name, error->message != nullptr ? error->message : "");
    self.settle(pending, "only root may change a site");
  } else if (sd_bus_message_enter_container(reply, 'r', "bba{ss}") < 0 ||
             sd_bus_message_read(reply, "bb", &is_authorized, &is_challenge) < 0) {
    self.settle(pending, "polkit's answer can't be read");
  } else if (is_authorized != 0) {
    self.settle(pending, {});
  } else {
    self.settle(pending, is_challenge != 0
                             ? fmt::format("polkit asks for authentication of {}, and nobody is "
                                           "there to ask for it",
                                           pending.question.action)
                             : fmt::format("polkit does not allow {}", pending.question.action));
  }
  return 0;
}

void Authority::note_denial(const Pending& pending, const std::string& reason) {
  const std::uint64_t now = monotonic_usec();
  if (now > denials_since_usec_ + denials_interval_usec) {
    if (denials_ > most_logged_denials)
      log_warning("{} more calls were denied", denials_ - most_logged_denials);
    denials_since_usec_ = now;
    denials_ = 0;
  }
  if (++denials_ <= most_logged_denials)
    log_warning("{} was denied {}: {}", pending.who, pending.question.member, reason);
}

void Authority::settle(Pending& pending, const std::string& reason) {
  const auto found = pending_.find(pending.number);
  const std::unique_ptr<Pending> ended = std::move(found->second);
  pending_.erase(found);
  if (!reason.empty()) note_denial(*ended, reason);
  ended->answer({.is_allowed = reason.empty(), .who = ended->who, .reason = reason});
}

}  // namespace green::manager
