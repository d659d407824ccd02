#include "python/fork_hazards.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <charconv>
#include <chrono>
#include <cstddef>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>
#include <thread>

namespace green::python {
namespace {

namespace py = pybind11;
namespace fs = std::filesystem;

/// The numbers that name the entries of a folder in /proc.
std::vector<int> numbers_in(const char* folder) {
  std::vector<int> numbers;
  std::error_code ignored;  // an entry that vanishes while we look is no entry
  for (const auto& entry : fs::directory_iterator(folder, ignored)) {
    const std::string name = entry.path().filename().string();
    int number = 0;
    if (std::from_chars(name.data(), name.data() + name.size(), number).ec == std::errc())
      numbers.push_back(number);
  }
  return numbers;
}

std::optional<unsigned long> socket_inode(int fd) {
  struct stat status{};
  if (::fstat(fd, &status) < 0 || !S_ISSOCK(status.st_mode)) return std::nullopt;
  return status.st_ino;
}

std::string peer_text(const sockaddr_storage& peer, socklen_t size) {
  std::array<char, INET6_ADDRSTRLEN> text{};
  if (peer.ss_family == AF_INET) {
    sockaddr_in address{};
    std::memcpy(&address, &peer, sizeof address);
    ::inet_ntop(AF_INET, &address.sin_addr, text.data(), text.size());
    return fmt::format("{}:{}", text.data(), ntohs(address.sin_port));
  }
  if (peer.ss_family == AF_INET6) {
    sockaddr_in6 address{};
    std::memcpy(&address, &peer, sizeof address);
    ::inet_ntop(AF_INET6, &address.sin6_addr, text.data(), text.size());
    return fmt::format("[{}]:{}", text.data(), ntohs(address.sin6_port));
  }
  if (peer.ss_family == AF_UNIX) {
    sockaddr_un address{};
    std::memcpy(&address, &peer, sizeof address);
    if (size <= offsetof(sockaddr_un, sun_path)) return "of an unnamed pair";
    std::string path(address.sun_path, size - offsetof(sockaddr_un, sun_path));
    if (path.front() == '\0') return "@" + path.substr(1);
    return path.c_str();  // without the NUL the kernel counts
  }
  return fmt::format("of address family {}", peer.ss_family);
}

std::optional<std::string> connected_peer(int fd) {
  int type = 0;
  socklen_t type_size = sizeof type;
  if (::getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &type_size) < 0 || type == SOCK_DGRAM)
    return std::nullopt;
  sockaddr_storage peer{};
  socklen_t size = sizeof peer;
  if (::getpeername(fd, reinterpret_cast<sockaddr*>(&peer), &size) < 0) return std::nullopt;
  return peer_text(peer, size);
}

struct PythonThread {
  std::string name;
  int native_id = 0;
};

std::vector<PythonThread> python_threads() {
  std::vector<PythonThread> threads;
  py::dict modules = py::module_::import("sys").attr("modules");
  if (!modules.contains("threading")) return threads;
  const py::object module = modules["threading"];
  const py::object main = module.attr("main_thread")();
  for (const py::handle thread : module.attr("enumerate")()) {
    if (thread.is(main)) continue;
    const py::object native_id = thread.attr("native_id");
    threads.push_back({py::str(thread.attr("name")).cast<std::string>(),
                       native_id.is_none() ? 0 : native_id.cast<int>()});
  }
  return threads;
}

std::vector<int> native_threads_beside(const std::vector<PythonThread>& known) {
  std::vector<int> others;
  for (const int id : numbers_in("/proc/self/task")) {
    bool is_known = id == ::getpid();
    for (const PythonThread& thread : known) is_known = is_known || thread.native_id == id;
    if (!is_known) others.push_back(id);
  }
  return others;
}

std::string thread_comm(int id) {
  std::ifstream file(fmt::format("/proc/self/task/{}/comm", id));
  std::string name;
  std::getline(file, name);
  return name;
}

}  // namespace

std::set<unsigned long> open_sockets() {
  std::set<unsigned long> inodes;
  for (const int fd : numbers_in("/proc/self/fd"))
    if (const auto inode = socket_inode(fd)) inodes.insert(*inode);
  return inodes;
}

std::vector<std::string> find_fork_hazards(const std::set<unsigned long>& known_sockets) {
  std::vector<std::string> hazards;
  const std::vector<PythonThread> threads = python_threads();
  hazards.reserve(threads.size());
  for (const PythonThread& thread : threads)
    hazards.push_back(fmt::format("thread '{}'", thread.name));
  std::vector<int> others = native_threads_beside(threads);
  // A joined thread may still be on its way out of the kernel, and nothing tells when it is gone.
  for (int turn = 0; turn < 50 && !others.empty(); ++turn) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    others = native_threads_beside(threads);
  }
  for (const int id : others) hazards.push_back(fmt::format("native thread '{}'", thread_comm(id)));
  for (const int fd : numbers_in("/proc/self/fd")) {
    const auto inode = socket_inode(fd);
    if (!inode || known_sockets.contains(*inode)) continue;
    if (const auto peer = connected_peer(fd))
      hazards.push_back(fmt::format("socket {} (fd {})", *peer, fd));
  }
  return hazards;
}

}  // namespace green::python
