// A datagram socket in journald's place.
#pragma once

#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <string>

#include "common/fd.h"

namespace green {

class FakeJournal {
 public:
  FakeJournal() {
    char folder[] = "/tmp/green-journal.XXXXXX";
    if (::mkdtemp(folder) == nullptr) std::abort();
    path_ = std::string(folder) + "/socket";
    socket_.reset(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path_.copy(address.sun_path, sizeof address.sun_path - 1);
    if (::bind(socket_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0)
      std::abort();
  }
  FakeJournal(const FakeJournal&) = delete;
  FakeJournal& operator=(const FakeJournal&) = delete;
  ~FakeJournal() {
    ::unlink(path_.c_str());
    ::rmdir(path_.substr(0, path_.rfind('/')).c_str());
  }

  const char* path() const { return path_.c_str(); }

  /// The next entry; empty: there is none.
  std::string take() const {
    std::string text(1 << 18, '\0');
    iovec bytes{.iov_base = text.data(), .iov_len = text.size()};
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
    msghdr message{};
    message.msg_iov = &bytes;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    const auto size = ::recvmsg(socket_.get(), &message, MSG_CMSG_CLOEXEC);
    if (size < 0) return {};
    text.resize(static_cast<std::size_t>(size));
    if (const cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr) {
      int descriptor = -1;
      std::memcpy(&descriptor, CMSG_DATA(header), sizeof descriptor);
      const Fd file(descriptor);
      std::array<char, 65536> piece;
      ssize_t count = 0;
      off_t offset = 0;
      while ((count = ::pread(file.get(), piece.data(), piece.size(), offset)) > 0) {
        text.append(piece.data(), static_cast<std::size_t>(count));
        offset += count;
      }
    }
    return text;
  }

 private:
  std::string path_;
  Fd socket_;
};

}  // namespace green
