// Bytes to requests: llhttp in strict mode, and what RFC 9110 and 9112 ask beyond it. Loop thread.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/http/application.h"
#include "daemon/http/body.h"
#include "daemon/http/limits.h"
#include "daemon/http/request_head.h"

namespace green::http {

class RequestParser {
 public:
  enum class Progress {
    need_more,
    head,      ///< head read and valid, a body follows: feed() on
    complete,  ///< head and body
    rejected,  ///< see rejection(); nothing after it on the connection means anything
  };
  struct Step {
    Progress progress;
    std::size_t consumed;  ///< bytes of the input that belong to this request
  };

  /// Bodies go to `body`. Both outlive the parser.
  RequestParser(const Limits& limits, Body& body);
  ~RequestParser();

  /// Forgets the last request; its views end.
  void begin();
  Step feed(std::string_view input);

  /// Has anything but an empty line arrived since begin()?
  bool has_begun() const;
  /// Head and body were read.
  bool is_complete() const;
  /// From Progress::head or ::complete on; views hold until begin(). To be completed and changed.
  Request& request();
  const Request& request() const;
  /// What is known of a rejected request: all of its head once that was valid, else no more than
  /// its request line, and an empty method where not even that is.
  Request known() const;
  bool keep_alive() const;
  /// Of the body's declared length, what did not come yet; nullopt where it is chunked.
  std::optional<std::uint64_t> body_left() const;
  bool expects_continue() const;
  bool has_forwarding_headers() const;
  /// Those of request(), to be changed with it.
  std::vector<Header>& headers();
  const Rejection& rejection() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace green::http
