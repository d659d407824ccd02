// A request on a connection, and the reply on its way out. Pooled: an idle connection has none.
// Loop thread.
#pragma once

#include <memory>
#include <vector>

#include "daemon/http/application.h"
#include "daemon/http/body.h"
#include "daemon/http/limits.h"
#include "daemon/http/output_queue.h"
#include "daemon/http/request_parser.h"
#include "daemon/http/response_writer.h"

namespace green::http {

/// What an exchange needs of its connection.
class ReplySink {
 public:
  /// ErrorCode::unavailable: the client is gone.
  virtual Result<void> send(const Frame& frame) = 0;
  /// The same with a file's part between `before` and `after`: the reply's end.
  virtual Result<void> send_file(const Frame& frame, FilePart part) = 0;
  /// Nothing more will be sent; `is_whole` false: the client must notice that the reply is not.
  /// May end the exchange.
  virtual void reply_finished(bool is_whole) = 0;
  /// The client gets no reply but 504, and that only if nothing was sent yet.
  virtual void give_up(bool nothing_sent) = 0;
  virtual bool may_keep_alive() const = 0;
  virtual bool client_connected() const = 0;

 protected:
  ~ReplySink() = default;
};

class HttpExchange final : public Exchange {
 public:
  HttpExchange(const Limits& limits, DateLine& date);

  // The application's side.
  const Request& request() const override { return request_; }
  Result<void> start(int status, std::string_view reason, std::span<const Header> headers) override;
  Result<void> send_interim(int status, std::span<const Header> headers) override;
  Result<void> write(std::string_view data) override;
  void finish(std::string_view rest) override;
  using Exchange::finish;
  void finish_file(FilePart part) override;
  void abort() override;
  void give_up() override;
  bool head_sent() const override { return writer_.head_made(); }
  bool client_connected() const override { return sink_ != nullptr && sink_->client_connected(); }

  // The connection's side.
  void attach(ReplySink& sink) { sink_ = &sink; }
  /// The request is complete: the application may answer. `peer_is_known` false: the connection's
  /// origin is not what `endpoints` say, so nobody's word on it is taken.
  void open(const Endpoints& endpoints, bool peer_is_known);
  /// Answers in the application's place; for a request that never reaches it. Closes afterwards.
  void refuse(const Rejection& rejection);
  bool is_finished() const { return stage_ == Stage::finished; }
  /// From is_finished() on.
  bool is_whole() const { return is_whole_; }
  bool keep_alive() const { return writer_.keep_alive(); }
  RequestParser& parser() { return parser_; }
  const Body& body() const { return body_; }
  OutputQueue& output() { return output_; }
  /// As new, and small.
  void reset();

 private:
  enum class Stage { reading, open, finished };

  void prepare_head();
  void note_length();
  void end(Result<void> sent);

  const Limits& limits_;
  ReplySink* sink_ = nullptr;
  Stage stage_ = Stage::reading;
  bool is_whole_ = false;
  Body body_;
  RequestParser parser_;
  Request request_;
  Endpoints forwarded_;  ///< where a trusted proxy says more than the connection
  ResponseWriter writer_;
  OutputQueue output_;
};

/// Exchanges to use again: a request costs no allocation.
class ExchangePool {
 public:
  ExchangePool(const Limits& limits, DateLine& date) : limits_(limits), date_(date) {}
  std::unique_ptr<HttpExchange> take();
  void give_back(std::unique_ptr<HttpExchange> exchange);

 private:
  const Limits& limits_;
  DateLine& date_;
  std::vector<std::unique_ptr<HttpExchange>> free_;
};

}  // namespace green::http
