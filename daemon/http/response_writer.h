// A reply's bytes: status line, headers, framing (RFC 9112, 6 and 7.1). No input or output. Loop
// thread.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "common/result.h"
#include "daemon/http/application.h"
#include "daemon/http/date_line.h"

namespace green::http {

/// Bytes to send in this order. Views hold until the writer's next call.
struct Frame {
  std::string_view before;
  std::string_view data;
  std::string_view after;
  std::size_t size() const { return before.size() + data.size() + after.size(); }
};

class ResponseWriter {
 public:
  /// `date` outlives the writer.
  explicit ResponseWriter(DateLine& date, bool keeps_head = false)
      : date_(&date), keeps_head_(keeps_head) {}

  /// A new reply: to HEAD or not, to HTTP/1.`version_minor`; `may_keep_alive`: the connection could
  /// go on after it.
  void begin(bool is_head, int version_minor, bool may_keep_alive);

  /// See Exchange::start().
  Result<void> start(int status, std::string_view reason, std::span<const Header> headers);
  bool started() const { return status_ != 0; }
  /// Before start(): see Exchange.
  void promise_trailers(bool promised) { promises_trailers_ = promised; }
  Result<void> add_trailers(std::span<const Header> trailers);
  /// Takes the started reply back. Precondition: !head_made().
  void discard();
  /// Closes after this reply. Precondition: !head_made().
  void forbid_keep_alive() { keep_alive_ = false; }

  /// A header of the server's own, unless the application set it. Precondition: !head_made().
  void set_request_id(std::string_view id) { request_id_ = id; }

  /// The next part of the body; with `is_last` the end of it. Precondition: started().
  /// Where the data is more than the declared length, the rest is dropped and overflowed() is set.
  Frame next(std::string_view data, bool is_last);
  /// The same with `length` bytes from elsewhere as the last part: `length` becomes what of them
  /// goes between the frame's `before` and `after`.
  Frame next_elsewhere(std::uint64_t& length);
  bool head_made() const { return head_made_; }
  bool overflowed() const { return overflowed_; }
  /// The last part came, and with it less than was declared.
  bool fell_short() const { return fell_short_; }
  /// All of the declared length went through next().
  bool has_all() const { return framing_ == Framing::length && declared_ == written_; }
  /// The reply's end is the connection's (RFC 9112, 6.3). Known from head_made() on.
  bool ends_by_close() const { return framing_ == Framing::until_close; }
  /// Known from head_made() on.
  bool keep_alive() const { return keep_alive_ && !fell_short_; }
  int status() const { return status_; }
  /// Bytes of the body that went through next().
  std::uint64_t body_bytes() const { return written_; }
  /// As it was made, where it is kept; until begin().
  std::string_view head() const { return head_; }

 private:
  enum class Framing { none, length, chunked, until_close };

  /// Makes what goes before and after a part; what of its `size` bytes is the body's.
  std::uint64_t frame(std::uint64_t size, bool is_last);
  void make_head(std::optional<std::uint64_t> whole_length);
  /// Whether the header goes to the client as it is.
  Result<bool> take_header(const Header& header);

  DateLine* date_;
  bool keeps_head_;
  std::string head_;
  std::string_view request_id_;
  std::string buffer_;
  std::string after_;
  std::string trailers_;
  int status_ = 0;
  int version_minor_ = 1;
  bool is_head_ = false;
  bool promises_trailers_ = false;
  bool keep_alive_ = false;
  bool offers_upgrade_ = false;
  bool has_date_ = false;
  bool has_server_ = false;
  bool has_request_id_ = false;
  bool head_made_ = false;
  bool overflowed_ = false;
  bool fell_short_ = false;
  Framing framing_ = Framing::none;
  std::optional<std::uint64_t> declared_;
  std::uint64_t written_ = 0;
};

/// A whole interim response; see Exchange::send_interim().
Result<std::string> make_interim(int status, std::span<const Header> headers);

/// The head of a 101 without the empty line at its end: who asks adds what the upgrade needs.
Result<std::string> make_switching_protocols(std::span<const Header> headers);

}  // namespace green::http
