// greend's part, played for one generation of the real green-worker program.
#pragma once

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/close_range.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <optional>
#include <set>
#include <sstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "common/scoreboard.h"
#include "common/settings.h"
#include "common/worker_channel.h"
#include "tests/python/temporary_folder.h"

namespace green {

using Clock = std::chrono::steady_clock;
inline constexpr std::chrono::seconds patience{20};

/// A message as the tests look at it; `text` is what came beside it.
struct Heard {
  Message message;
  std::string text;
};

struct Reply {
  std::string head;
  std::string body;
  int status() const { return head.size() < 12 ? 0 : std::atoi(head.c_str() + 9); }
};

class FakeManager {
 public:
  explicit FakeManager(std::string_view code) {
    EXPECT_EQ(::prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
    folder.write("site_app.py", code);
    settings = default_settings();
    settings.app = "site_app";
    settings.chdir = folder.string();
    settings.env = {{"PYTHONDONTWRITEBYTECODE", "1"}};
    settings.timeout = std::chrono::seconds(2);
    settings.graceful_timeout = std::chrono::seconds(10);
    settings.preload = "auto";
    auto board = Scoreboard::create(4);
    EXPECT_TRUE(board);
    scoreboard.emplace(std::move(*board));
    listen();
  }
  ~FakeManager() {
    for (const pid_t pid : alive_) {
      ::kill(pid, SIGKILL);
      ::waitpid(pid, nullptr, 0);
    }
  }
  FakeManager(const FakeManager&) = delete;
  FakeManager& operator=(const FakeManager&) = delete;

  /// Starts green-worker and sends it the spec. Its standard error goes to a file of the folder.
  void start(std::uint64_t generation = 3) {
    auto channel = make_channel();
    ASSERT_TRUE(channel);
    zygote_channel = std::move(channel->first);
    const Fd log(::open(log_path().c_str(), O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0600));
    zygote = ::fork();
    ASSERT_GE(zygote, 0);
    if (zygote == 0) exec(channel->second.get(), log.get());
    alive_.insert(zygote);
    const auto text = make_text_memfd("settings", settings_to_toml(settings));
    ASSERT_TRUE(text);
    Message message;
    message.type = MessageType::spec;
    message.spec.protocol_version = protocol_version;
    message.spec.generation = generation;
    message.spec.slot_count = scoreboard->slot_count();
    message.spec.listener_count = 1;
    std::strcpy(message.spec.site.data(), "shop");
    const std::array<int, 3> descriptors{text->get(), scoreboard->fd(), listener.get()};
    ASSERT_TRUE(send_message(zygote_channel.get(), message, descriptors));
  }

  /// start(), and the import went well.
  void start_imported() {
    start();
    const auto heard = hear(zygote_channel);
    ASSERT_TRUE(heard);
    ASSERT_EQ(heard->message.type, MessageType::imported) << heard->text << log();
    warning = heard->text;
  }

  /// The next message, or nullopt when the peer closed; fails the test when neither comes.
  std::optional<Heard> hear(const Fd& channel) {
    const auto deadline = Clock::now() + patience;
    while (Clock::now() < deadline) {
      pollfd readable{channel.get(), POLLIN, 0};
      ::poll(&readable, 1, 100);
      auto received = receive_message(channel.get());
      if (!received) {
        if (received.error().errno_value() == EAGAIN) continue;
        ADD_FAILURE() << received.error().message();
        return std::nullopt;
      }
      if (!*received) return std::nullopt;
      Heard heard{(*received)->message, {}};
      if (!(*received)->descriptors.empty() && heard.message.type == MessageType::ready)
        stacks_socket = std::move((*received)->descriptors[0]);
      else if (!(*received)->descriptors.empty())
        heard.text = read_text((*received)->descriptors[0].get()).value_or("");
      return heard;
    }
    ADD_FAILURE() << "no message came\n" << log();
    return std::nullopt;
  }

  void tell(std::uint32_t slot, MessageType type) {
    Message message;
    message.type = type;
    ASSERT_TRUE(send_message(channels.at(slot).get(), message));
  }

  /// Forks a worker; its pid, once it said ready.
  pid_t fork_worker(std::uint32_t slot) {
    auto channel = make_channel();
    EXPECT_TRUE(channel);
    Message message;
    message.type = MessageType::fork_worker;
    message.slot = slot;
    const int descriptor = channel->second.get();
    EXPECT_TRUE(send_message(zygote_channel.get(), message, {&descriptor, 1}));
    channel->second.reset();
    const auto forked = hear(zygote_channel);
    EXPECT_TRUE(forked && forked->message.type == MessageType::forked &&
                forked->message.slot == slot);
    if (!forked) return -1;
    alive_.insert(forked->message.pid);
    channels[slot] = std::move(channel->first);
    return forked->message.pid;
  }
  pid_t serve_worker(std::uint32_t slot) {
    const pid_t pid = fork_worker(slot);
    const auto ready = hear(channels[slot]);
    EXPECT_TRUE(ready && ready->message.type == MessageType::ready) << log();
    scoreboard->header().serving_generation = 3;
    tell(slot, MessageType::serve);
    return pid;
  }

  /// Waits for the end of one of our processes; its wait status.
  int wait_for(pid_t pid) {
    const auto deadline = Clock::now() + patience;
    int status = 0;
    while (Clock::now() < deadline) {
      if (::waitpid(pid, &status, WNOHANG) == pid) {
        alive_.erase(pid);
        return status;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    ADD_FAILURE() << "process " << pid << " did not end\n" << log();
    return -1;
  }
  int exit_status_of(pid_t pid) {
    const int status = wait_for(pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }

  Fd connect() const {
    Fd client(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const timeval limit{20, 0};
    ::setsockopt(client.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::connect(client.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    return client;
  }
  static void say(const Fd& client, std::string_view text) {
    EXPECT_EQ(::send(client.get(), text.data(), text.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(text.size()));
  }
  static Reply read_reply(const Fd& client) {
    std::string all;
    std::array<char, 4096> buffer{};
    for (ssize_t size = 0; (size = ::recv(client.get(), buffer.data(), buffer.size(), 0)) > 0;)
      all.append(buffer.data(), static_cast<std::size_t>(size));
    const auto end = all.find("\r\n\r\n");
    if (end == std::string::npos) return {all, {}};
    return {all.substr(0, end), all.substr(end + 4)};
  }
  /// One request on a connection of its own.
  Reply get(const std::string& path) const {
    const Fd client = connect();
    say(client, "GET " + path + " HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n");
    return read_reply(client);
  }

  std::string log_path() const { return folder.string() + "/log"; }
  std::string log() const {
    std::ifstream file(log_path());
    return {std::istreambuf_iterator<char>(file), {}};
  }
  /// True once `text` is in the log.
  bool log_shows(std::string_view text) const {
    return eventually([&] { return log().find(text) != std::string::npos; });
  }
  template <typename Condition>
  static bool eventually(Condition condition) {
    const auto deadline = Clock::now() + patience;
    while (Clock::now() < deadline) {
      if (condition()) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return false;
  }

  std::uint32_t protocol_version = worker_protocol_version;
  TemporaryFolder folder;
  Settings settings;
  std::optional<Scoreboard> scoreboard;
  Fd listener;
  std::uint16_t port = 0;
  pid_t zygote = 0;
  Fd zygote_channel;
  Fd stacks_socket;  ///< of the worker that said ready last
  std::map<std::uint32_t, Fd> channels;
  std::string warning;

 private:
  void listen() {
    listener.reset(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ASSERT_EQ(::bind(listener.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    ASSERT_EQ(::listen(listener.get(), 128), 0);
    socklen_t size = sizeof address;
    ::getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &size);
    port = ntohs(address.sin_port);
  }

  [[noreturn]] static void exec(int channel, int log) {
    const int null = ::open("/dev/null", O_RDONLY);
    const int high = ::fcntl(channel, F_DUPFD_CLOEXEC, 50);
    ::dup2(null, 0);
    ::dup2(log, 1);
    ::dup2(log, 2);
    ::dup2(high, worker_channel_fd);
    ::close_range(4, ~0U, CLOSE_RANGE_CLOEXEC);
    // What must not reach the application, as if greend had forgotten it.
    for (const char* name : {"NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES",
                             "WATCHDOG_USEC", "WATCHDOG_PID"})
      ::setenv(name, "leak", 1);
    ::execl(GREEN_WORKER_PROGRAM, "green-worker", "shop", "3", nullptr);
    ::_exit(127);
  }

  std::set<pid_t> alive_;
};

}  // namespace green
