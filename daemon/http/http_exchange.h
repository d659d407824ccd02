// A request on a connection, and the reply on its way out. Pooled: an idle connection has none.
// Loop thread.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "daemon/http/application.h"
#include "daemon/http/body.h"
#include "daemon/http/limits.h"
#include "daemon/http/output_queue.h"
#include "daemon/http/request_id.h"
#include "daemon/http/request_parser.h"
#include "daemon/http/response_writer.h"
#include "daemon/http/websocket.h"
#include "daemon/http/websocket_deflate.h"

namespace green::http {

/// What a client has of a reply that is given up.
enum class SentSoFar : std::uint8_t {
  nothing,
  part,
  timeout_reply,  ///< a signal's handler's 504 (stuck_call.h), and the end of what we send
};

/// What an exchange needs of its connection.
class ReplySink {
 public:
  /// ErrorCode::unavailable: the client is gone.
  virtual Result<void> send(const Frame& frame) = 0;
  /// The same with the reply's end, which may leave a little later, with those of others.
  virtual Result<void> send_last(const Frame& frame) = 0;
  /// The same with a file's part between `before` and `after`: the reply's end.
  virtual Result<void> send_file(const Frame& frame, FilePart part) = 0;
  /// Nothing more will be sent; `is_whole` false: the client must notice that the reply is not.
  /// May end the exchange.
  virtual void reply_finished(bool is_whole) = 0;
  /// The client gets no reply but 504, and that only if nothing was sent yet.
  virtual void give_up(SentSoFar sent) = 0;
  virtual bool may_keep_alive() const = 0;
  virtual bool client_connected() const = 0;
  /// Sends the head of a 101; from then on the connection is a WebSocket.
  virtual Result<WebSocket*> become_websocket(std::string_view head,
                                              std::optional<DeflateAgreement> deflate,
                                              WebSocketReceiver& receiver) = 0;
  virtual bool input_ended() const = 0;
  /// See Exchange::publish().
  virtual void publish() = 0;
  /// See Exchange::announce().
  virtual void announce() = 0;
  /// See Exchange::want_body().
  virtual void want_body() = 0;
  /// The client sends no body before it is asked to (Expect: 100-continue), which it was not yet.
  virtual bool awaits_invitation() const = 0;

 protected:
  ~ReplySink() = default;
};

class HttpExchange final : public Exchange {
 public:
  /// Of a body that the application did not take, no more is read for nothing.
  static constexpr std::uint64_t longest_skip = 1 << 20;

  HttpExchange(const Limits& limits, DateLine& date, RequestIdSource& ids);

  // The application's side.
  const Request& request() const override { return *request_; }
  Result<void> start(int status, std::string_view reason, std::span<const Header> headers) override;
  void promise_trailers(bool promised) override { writer_.promise_trailers(promised); }
  Result<void> add_trailers(std::span<const Header> trailers) override;
  Result<void> send_interim(int status, std::span<const Header> headers) override;
  Result<void> write(std::string_view data) override;
  void finish(std::string_view rest) override;
  using Exchange::finish;
  void finish_file(FilePart part) override;
  void abort() override;
  void give_up() override;
  void give_up_answered() override;
  Result<WebSocket*> accept_websocket(std::string_view subprotocol, std::span<const Header> headers,
                                      WebSocketReceiver& receiver) override;
  bool head_sent() const override { return writer_.head_made(); }
  bool client_connected() const override { return sink_ != nullptr && sink_->client_connected(); }
  bool input_ended() const override { return sink_ == nullptr || sink_->input_ended(); }
  std::uint64_t unsent() const override { return output_.size(); }
  void watch(ExchangeWatcher* watcher) override { watcher_ = watcher; }
  void publish() override;
  void announce() override;
  bool body_is_whole() const override { return parser_.is_complete(); }
  void want_body() override;

  // The connection's side.
  void attach(ReplySink& sink) { sink_ = &sink; }
  /// The head is complete: the application may answer. `peer_is_known` false: the connection's
  /// origin is not what `endpoints` say, so nobody's word on it is taken.
  void open(const Endpoints& endpoints, bool peer_is_known);
  /// Answers in the application's place; for a request that never reaches it. Closes afterwards.
  void refuse(const Rejection& rejection, const Endpoints& endpoints);
  /// A reply of the server's own to what the application has already, as bytes.
  std::string make_refusal(const Rejection& rejection);
  bool is_finished() const { return stage_ == Stage::finished; }
  /// Tells whoever watches.
  void note_change() {
    if (watcher_ != nullptr && stage_ == Stage::open) watcher_->exchange_changed();
  }
  /// From is_finished() on.
  bool is_whole() const { return is_whole_; }
  bool keep_alive() const { return writer_.keep_alive(); }
  RequestParser& parser() { return parser_; }
  const Body& body() const { return body_; }
  Body& body() { return body_; }
  OutputQueue& output() { return output_; }
  const ResponseWriter& reply() const { return writer_; }
  /// As new, and small.
  void reset();

 private:
  enum class Stage { reading, open, finished };

  void identify(bool peer_is_believed);
  void prepare_head(bool is_last);
  /// Whether the rest of the body may be read for nothing, for the sake of the next request.
  bool may_skip_body(bool is_last) const;
  void note_length();
  void end(Result<void> sent);

  const Limits& limits_;
  DateLine& date_;
  RequestIdSource& ids_;
  ReplySink* sink_ = nullptr;
  ExchangeWatcher* watcher_ = nullptr;
  Stage stage_ = Stage::reading;
  bool is_whole_ = false;
  Body body_;
  RequestParser parser_;
  Request* request_ = &refused_;  ///< the parser's, once it is valid
  Request refused_;
  Endpoints forwarded_;  ///< where a trusted proxy says more than the connection
  std::string request_id_;
  ResponseWriter writer_;
  OutputQueue output_;
};

/// Exchanges to use again: a request costs no allocation.
class ExchangePool {
 public:
  ExchangePool(const Limits& limits, DateLine& date, RequestIdSource& ids)
      : limits_(limits), date_(date), ids_(ids) {}
  std::unique_ptr<HttpExchange> take();
  void give_back(std::unique_ptr<HttpExchange> exchange);

 private:
  const Limits& limits_;
  DateLine& date_;
  RequestIdSource& ids_;
  std::vector<std::unique_ptr<HttpExchange>> free_;
};

}  // namespace green::http
