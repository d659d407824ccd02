// A WebSocket on its connection: messages to and from the application, pings, back-pressure, and
// the closing in every order of events. Loop thread.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "daemon/http/upgraded.h"
#include "daemon/http/websocket.h"
#include "daemon/http/websocket_codec.h"

namespace green::http {

class WebSocketSession final : public WebSocket, public UpgradedProtocol {
 public:
  /// All but the codec outlive it; the receiver until finish().
  WebSocketSession(UpgradedTransport& transport, WebSocketReceiver& receiver,
                   std::size_t longest_message, CodecTools& tools,
                   std::optional<DeflateAgreement> agreement);

  // The application's side.
  Result<void> send(MessageKind kind, std::string_view data) override;
  std::uint64_t unsent() const override;
  void pause() override { is_paused_ = true; }
  void resume() override;
  Result<void> close(int code, std::string_view reason) override;
  bool is_open() const override { return state_ == State::open; }
  void finish(int code) override;

  // The connection's side.
  bool wants_input() const override;
  std::string_view take(std::string_view input) override;
  void output_taken() override;
  void lost() override;
  void time_is_over(UpgradedWait what) override;
  void go_away() override;
  bool is_in_use() const override { return !is_finished_; }

 private:
  enum class State {
    open,
    closing,  ///< our Close is on its way; the client's is to come
    closed,   ///< nothing is read or sent any more
  };

  void handle(const WebSocketEvent& event);
  void answer_ping(std::string_view payload);
  void answer_close(const WebSocketEvent& event);
  void send_close(int code, std::string_view reason);
  void end(int code, std::string_view reason);
  void tell_closed(int code, std::string_view reason);

  UpgradedTransport& transport_;
  WebSocketReceiver& receiver_;
  WebSocketCodec codec_;
  State state_ = State::open;
  /// The latest ping that came while older output was unsent: pongs do not pile up (RFC 6455,
  /// 5.5.3).
  std::optional<std::string> unanswered_ping_;
  bool is_paused_ = false;
  bool awaits_pong_ = false;
  bool is_told_closed_ = false;
  bool is_finished_ = false;
};

}  // namespace green::http
