// One client's connection: bytes in, requests to the application in order, replies out. Loop
// thread.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "common/fd.h"
#include "daemon/http/application.h"
#include "daemon/http/arrivals.h"
#include "daemon/http/connection_context.h"
#include "daemon/http/held_replies.h"
#include "daemon/http/http_exchange.h"
#include "daemon/http/reactor.h"
#include "daemon/http/upgraded_connection.h"

namespace green::http {

enum class ConnectionState {
  idle,          ///< between requests, or before the first
  reading_head,  ///< part of a head is here
  reading_body,
  calling,    ///< the application has the exchange
  sending,    ///< the reply is complete, the client has not taken all of it
  skipping,   ///< nor did the application take the whole body: what is left is read for nothing
  lingering,  ///< our side is shut; reads on, so that the client sees the reply and not a reset
  abandoned,  ///< the client is gone, or was given its 504; the application still has the exchange
  upgraded,   ///< by a 101: another protocol is spoken (upgraded_connection.h)
  closed,
};

class Connection final : EventHandler, TimeoutNode, Deferred, ReplySink, HeldReplyOwner {
 public:
  Connection(ConnectionContext& context, Fd socket, Endpoints endpoints);
  ~Connection() override;

  /// Registers with the reactor.
  Result<void> open();
  /// The server began to drain, or to do so promptly.
  void drain();
  /// Whether close_early() has something to do: it is idle, or open for an application that may be
  /// told to close it.
  bool can_close_early() const;
  /// Closes it if it is idle; a request that has just come is answered instead. Lets an upgraded
  /// one close in its own way.
  void close_early();
  ConnectionState state() const { return state_; }
  std::optional<InFlight> in_flight() const;

  std::size_t index_in_server = 0;  ///< the server's own

 private:
  friend class UpgradedConnection;

  void before_events(std::uint32_t events) override;
  void on_events(std::uint32_t events) override;
  void on_timeout() override;
  void run_deferred() override;
  Result<void> send(const Frame& frame) override;
  Result<void> send_last(const Frame& frame) override;
  Result<void> send_file(const Frame& frame, FilePart part) override;
  void send_held(std::string_view rest) override;
  void reply_finished(bool is_whole) override;
  void give_up(SentSoFar sent) override;
  bool may_keep_alive() const override;
  bool client_connected() const override;
  Result<WebSocket*> become_websocket(std::string_view head,
                                      std::optional<DeflateAgreement> deflate,
                                      WebSocketReceiver& receiver) override;
  bool input_ended() const override { return end_is_near_ || !client_connected(); }
  void publish() override;
  void announce() override;
  void want_body() override;
  bool awaits_invitation() const override { return awaits_invitation_; }

  bool is_reading() const;
  /// More of a body is to be read that the application has begun to answer.
  bool is_reading_on() const;
  bool has_answerer() const;
  void input_is_over();
  void begin_body(bool is_followed);
  void note_body(std::size_t count);
  void body_arrived();
  void body_failed(const Rejection& rejection);
  void watch_body_time();
  void pump();
  bool receive();
  bool take_bytes(std::string_view bytes, bool is_all);
  bool take_proxy_header(std::string_view& input);
  std::string_view consume(std::string_view input);
  void begin_request();
  void invite_body();
  void call_application();
  void refuse(const Rejection& rejection);
  void settle();
  void reply_sent();
  void log_access(int status);
  void go_idle();
  void on_writable();
  void note_input_end();
  void watch_writable(bool wanted);
  void ask_for_writable();
  bool watch(std::uint32_t events);
  Result<void> after_sending(OutputQueue::Status status, std::uint64_t sent_before);
  void note_progress(std::uint64_t sent_before);
  void note_all_taken();
  void let_go_held();
  void drop_announced();
  void start_timeout(TimeoutList& list);
  void linger();
  void lose_client(int errno_value);
  /// The application keeps the exchange; its client gets `reply`, or is cut off where that is empty
  /// or something was sent already.
  void abandon(std::string_view reply, int status);
  /// The client, which has got its last reply or not, is seen off; `status` is the access log's.
  void leave_to_application(bool is_answered, int status);
  void cut();
  /// Whether the client gets a reset where the socket is closed, by us or by the kernel after us:
  /// without a length or chunks nothing else tells it that a reply is not whole (RFC 9112, 8). Of
  /// no effect on a unix socket.
  void reset_on_close(bool wanted);
  void linger_given_up();
  void leave_given_up();
  void leave_abandoned();
  void drop_socket();
  void close();

  ConnectionContext& context_;
  Fd socket_;
  Endpoints endpoints_;
  ConnectionState state_ = ConnectionState::idle;
  std::unique_ptr<HttpExchange> exchange_;
  std::unique_ptr<UpgradedConnection> upgraded_;
  Arrivals::Read arrived_;  ///< from before_events() until on_events()
  /// Bytes of requests to come, read with one before. None are read while there are some.
  std::string read_ahead_;
  /// The beginning of a PROXY header that is not whole yet.
  std::unique_ptr<std::string> proxy_header_;
  /// When the application was called; before that, when the request's first bytes came.
  std::uint64_t begun_usec_ = 0;
  /// By the context's held replies, until its call begins; 0: it was not.
  std::uint64_t announced_ = 0;
  /// When the application went on with it, after call_application().
  std::uint64_t step_began_usec_ = 0;
  std::uint32_t lingered_ = 0;
  std::uint64_t skipped_ = 0;  ///< of this request's body, for nothing
  int requests_this_turn_ = 0;
  bool awaits_proxy_header_ = false;
  bool peer_is_known_ = true;  ///< endpoints_ say who is at the other end
  bool readable_ = false;  ///< edge-triggered: there may be something to read since the last edge
  bool end_is_near_ = false;  ///< the client shut its side: read until the end shows
  bool watches_writable_ = false;
  bool in_call_ = false;
  bool is_followed_ = false;  ///< by input that was read with the request, or that is to come
  bool is_held_ = false;      ///< the whole reply is among the context's held ones
  bool counted_ = false;      ///< call_begins() was told, request_done() not yet
  bool has_served_ = false;
  bool is_unlogged_ = false;  ///< the access log's line of this request is to come
  bool resets_on_close_ = false;
  bool is_given_up_ = false;  ///< counted in the context as one that nobody waits for
  bool is_refused_ = false;   ///< the client may still be sending what we will not take
  bool awaits_invitation_ = false;
};

}  // namespace green::http
