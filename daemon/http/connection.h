// One client's connection: bytes in, requests to the application in order, replies out. Loop
// thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "common/fd.h"
#include "daemon/http/application.h"
#include "daemon/http/connection_context.h"
#include "daemon/http/http_exchange.h"
#include "daemon/http/reactor.h"

namespace green::http {

enum class ConnectionState {
  idle,          ///< between requests, or before the first
  reading_head,  ///< part of a head is here
  reading_body,
  calling,    ///< the application has the exchange
  sending,    ///< the reply is complete, the client has not taken all of it
  lingering,  ///< our side is shut; reads on, so that the client sees the reply and not a reset
  abandoned,  ///< the client is gone, or was given its 504; the application still has the exchange
  closed,
};

class Connection final : EventHandler, TimeoutNode, Deferred, ReplySink {
 public:
  Connection(ConnectionContext& context, Fd socket, Endpoints endpoints);
  ~Connection() override;

  /// Registers with the reactor.
  Result<void> open();
  /// The server began to drain, or to do so promptly.
  void drain();
  /// Closes it if it is idle; a request that has just come is answered instead.
  void close_if_idle();
  ConnectionState state() const { return state_; }

  std::size_t index_in_server = 0;  ///< the server's own

 private:
  void on_events(std::uint32_t events) override;
  void on_timeout() override;
  void run_deferred() override;
  Result<void> send(const Frame& frame) override;
  Result<void> send_file(const Frame& frame, FilePart part) override;
  void reply_finished(bool is_whole) override;
  void give_up(bool nothing_sent) override;
  bool may_keep_alive() const override;
  bool client_connected() const override;

  bool is_reading() const;
  void pump();
  bool receive();
  bool take_proxy_header(std::string_view& input);
  std::string_view consume(std::string_view input);
  void begin_request();
  void invite_body();
  void call_application();
  void refuse(const Rejection& rejection);
  void settle();
  void reply_sent();
  void go_idle();
  void on_writable();
  void watch_writable(bool wanted);
  bool watch(std::uint32_t events);
  Result<void> after_sending(OutputQueue::Status status, std::uint64_t sent_before);
  void note_progress(std::uint64_t sent_before);
  void note_all_taken();
  void start_timeout(TimeoutList& list);
  void linger();
  void lose_client(int errno_value);
  void cut();
  void linger_given_up();
  void leave_given_up();
  void close();

  ConnectionContext& context_;
  Fd socket_;
  Endpoints endpoints_;
  ConnectionState state_ = ConnectionState::idle;
  std::unique_ptr<HttpExchange> exchange_;
  /// Bytes of requests to come, read with one before. None are read while there are some.
  std::string read_ahead_;
  /// The beginning of a PROXY header that is not whole yet.
  std::unique_ptr<std::string> proxy_header_;
  std::uint32_t lingered_ = 0;
  int requests_this_turn_ = 0;
  bool awaits_proxy_header_ = false;
  bool peer_is_known_ = true;  ///< endpoints_ say who is at the other end
  bool readable_ = false;  ///< edge-triggered: there may be something to read since the last edge
  bool end_is_near_ = false;  ///< the client shut its side: read until the end shows
  bool watches_writable_ = false;
  bool in_call_ = false;
  bool counted_ = false;  ///< call_begins() was told, request_done() not yet
  bool has_served_ = false;
  bool is_given_up_ = false;  ///< counted in the context as one that nobody waits for
  bool is_refused_ = false;   ///< the client may still be sending what we will not take
};

}  // namespace green::http
