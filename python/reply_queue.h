// What applications on pool threads answered, on its way to the loop thread. No Python objects.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/fd.h"
#include "common/result.h"
#include "daemon/http/application.h"

namespace green::python {

class ThreadedExchange;

using OwnedHeaders = std::vector<std::pair<std::string, std::string>>;

/// How far a reply has come since the loop thread last looked.
struct ReplyNews {
  enum class End { none, finished, aborted };
  struct Head {
    int status = 0;
    std::string reason;
    OwnedHeaders headers;
  };

  std::vector<std::pair<int, OwnedHeaders>> interims{};
  std::optional<Head> head{};
  std::string body{};                    ///< parts that were written
  std::string rest{};                    ///< what the reply was finished with
  std::optional<http::FilePart> file{};  ///< or that
  End end = End::none;
  bool call_returned = false;  ///< the thread is done with the exchange
};

class ReplyQueue {
 public:
  struct Item {
    ThreadedExchange* exchange;
    ReplyNews news;
  };

  /// Once, before anything else.
  Result<void> open();
  /// Readable once there is something to take().
  int fd() const { return wake_.get(); }

  /// Any thread. Adds to an exchange's news and wakes the loop thread; `add` runs under the lock.
  void post(ThreadedExchange& exchange, const std::function<void(ReplyNews&)>& add);
  /// A thread that does not hold the GIL: waits until the loop thread took what there is of
  /// `exchange`. It waits for no client, so this is short. False: no loop thread any more.
  bool wait_until_taken(const ThreadedExchange& exchange);

  /// Loop thread: everything that is new, in the order of its exchanges' first news.
  void take(std::vector<Item>& items);
  /// Loop thread: it will take no more.
  void close();

 private:
  std::mutex mutex_;
  std::condition_variable taken_;
  std::vector<ThreadedExchange*> ready_;
  bool is_closed_ = false;
  Fd wake_;
};

}  // namespace green::python
