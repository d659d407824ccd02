#include "python/asgi_websockets.h"

#include <utility>

namespace green::python {

AsgiWebSockets::AsgiWebSockets(AsgiContext& context, std::function<void()> on_end)
    : context_(context), on_end_(std::move(on_end)) {}

void AsgiWebSockets::open(http::Exchange& exchange, PyRef scope) {
  const auto offer = http::read_websocket_offer(exchange.request());
  if (!offer) {
    http::refuse_websocket(exchange, offer.error());
    return context_.on_reply();
  }
  if (scope && !messages_.make_scope(scope.get(), *offer)) scope.reset();
  sockets_.push_back(std::make_unique<AsgiWebSocket>(
      context_, messages_, [this](AsgiWebSocket& socket) { ended(socket); }));
  AsgiWebSocket& socket = *sockets_.back();
  socket.index_in_application = sockets_.size() - 1;
  opening_ = &socket;
  socket.open(exchange, std::move(scope));
  opening_ = nullptr;
  ended_at_once_.reset();
}

void AsgiWebSockets::ended(AsgiWebSocket& socket) {
  const std::size_t index = socket.index_in_application;
  auto gone = std::move(sockets_[index]);
  if (index + 1 != sockets_.size()) {
    sockets_[index] = std::move(sockets_.back());
    sockets_[index]->index_in_application = index;
  }
  sockets_.pop_back();
  if (&socket == opening_) ended_at_once_ = std::move(gone);
  on_end_();
}

void AsgiWebSockets::give_up() {
  // A task that is cancelled ends on a later turn of the loop.
  for (const auto& socket : sockets_) socket->give_up();
}

}  // namespace green::python
