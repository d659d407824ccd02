// Connection: what it has in flight, for whoever asks what the worker is doing. Loop thread.
#include "daemon/http/connection.h"

namespace green::http {

std::optional<InFlight> Connection::in_flight() const {
  InFlight one{.since_usec = begun_usec_, .client = endpoints_.remote_address};
  switch (state_) {
    case ConnectionState::reading_head:
    case ConnectionState::reading_body:
    case ConnectionState::skipping:
      one.state = RequestState::reading;
      break;
    case ConnectionState::calling:
      one.state = exchange_->head_sent() ? RequestState::streaming : RequestState::running;
      break;
    case ConnectionState::sending:
      one.state = RequestState::replying;
      break;
    case ConnectionState::abandoned:
      one.state = RequestState::abandoned;
      break;
    case ConnectionState::upgraded:
      one.state = RequestState::websocket;
      break;
    case ConnectionState::idle:
    case ConnectionState::lingering:
    case ConnectionState::closed:
      return std::nullopt;
  }
  if (upgraded_) {
    one.method = "GET";
    one.path = upgraded_->origin().path;
    one.client = upgraded_->origin().client;
  } else if (one.state == RequestState::reading) {
    const Request request = exchange_->parser().known();
    one.method = request.method;
    one.path = request.path;
  } else {
    const Request& request = exchange_->request();
    one.method = request.method;
    one.path = request.path;
    if (request.endpoints != nullptr) one.client = request.endpoints->remote_address;
    one.exchange = exchange_.get();
  }
  return one;
}

}  // namespace green::http
