#include "python/threaded_exchange.h"

#include <Python.h>

#include "common/text.h"

namespace green::python {
namespace {

/// What a reply may hold here before its thread waits for the loop thread to take it.
constexpr std::size_t most_waiting = 1 << 20;

OwnedHeaders copy_of(std::span<const http::Header> headers) {
  OwnedHeaders copies;
  copies.reserve(headers.size());
  for (const http::Header& header : headers) copies.emplace_back(header.name, header.value);
  return copies;
}

std::vector<http::Header> views_of(const OwnedHeaders& headers) {
  std::vector<http::Header> views;
  views.reserve(headers.size());
  for (const auto& [name, value] : headers) views.push_back({name, value});
  return views;
}

}  // namespace

void ThreadedExchange::open(http::Exchange& exchange, std::uint64_t now_usec) {
  opened_usec_ = now_usec;
  exchange_ = &exchange;
  is_given_up_ = false;
  request_ = exchange.request();
  head_.reset();
  stage_ = Stage::open;
  waiting_size_ = 0;
  client_gone_.store(false, std::memory_order_relaxed);
}

bool ThreadedExchange::deliver(ReplyNews& news) {
  if (exchange_ != nullptr) pass_on_parts(news);
  if (exchange_ != nullptr) pass_on_end(news);
  return !news.call_returned;
}

std::string ThreadedExchange::give_up_call() {
  is_given_up_ = true;
  if (exchange_ == nullptr) return "a call that was answered";
  const http::Request& request = exchange_->request();
  std::string name = printable(request.method) + " " + printable(request.path);
  exchange_->give_up();
  client_gone_.store(true, std::memory_order_relaxed);
  return name;
}

void ThreadedExchange::pass_on_parts(const ReplyNews& news) {
  bool is_fine = true;
  for (const auto& [status, headers] : news.interims)
    is_fine = exchange_->send_interim(status, views_of(headers)).has_value() && is_fine;
  if (news.head) {
    const auto& [status, reason, headers] = *news.head;
    is_fine = exchange_->start(status, reason, views_of(headers)).has_value() && is_fine;
  }
  if (!news.body.empty()) is_fine = exchange_->write(news.body).has_value() && is_fine;
  // The application was told of its own mistakes; what is left is a client that went away.
  if (!is_fine && !exchange_->client_connected())
    client_gone_.store(true, std::memory_order_relaxed);
}

void ThreadedExchange::pass_on_end(ReplyNews& news) {
  if (news.end == ReplyNews::End::none) return;
  // It may be gone when this returns.
  http::Exchange& exchange = *std::exchange(exchange_, nullptr);
  if (news.end != ReplyNews::End::finished)
    exchange.abort();
  else if (news.file)
    exchange.finish_file(std::move(*news.file));
  else
    exchange.finish(news.rest);
}

void ThreadedExchange::begin_call(http::ResponseWriter& checker, std::uint64_t now_usec) {
  running_since_usec_.store(now_usec, std::memory_order_relaxed);
  checker_ = &checker;
  checker.begin(request_.method == "HEAD", request_.version_minor, true);
}

void ThreadedExchange::end_call() {
  running_since_usec_.store(0, std::memory_order_relaxed);
  queue_.post(*this, [](ReplyNews& news) { news.call_returned = true; });
}

Result<void> ThreadedExchange::start(int status, std::string_view reason,
                                     std::span<const http::Header> headers) {
  if (stage_ != Stage::open) return fail(ErrorCode::application, "the reply is finished");
  auto started = checker_->start(status, reason, headers);
  if (started)
    head_ = {.status = status, .reason = std::string(reason), .headers = copy_of(headers)};
  else if (!checker_->head_made())
    head_.reset();
  return started;
}

Result<void> ThreadedExchange::send_interim(int status, std::span<const http::Header> headers) {
  if (stage_ != Stage::open || head_sent())
    return fail(ErrorCode::application, "the reply's head was sent already");
  if (auto made = http::make_interim(status, headers); !made) return fail(made.error());
  if (!client_connected()) return fail(ErrorCode::unavailable, "the client is gone");
  queue_.post(*this,
              [&](ReplyNews& news) { news.interims.emplace_back(status, copy_of(headers)); });
  return {};
}

Result<void> ThreadedExchange::write(std::string_view data) {
  if (stage_ != Stage::open) return fail(ErrorCode::application, "the reply is finished");
  if (!checker_->started()) return fail(ErrorCode::application, "no reply was started");
  if (!client_connected()) return fail(ErrorCode::unavailable, "the client is gone");
  if (data.empty()) return {};
  static_cast<void>(checker_->next(data, false));
  queue_.post(*this, [&](ReplyNews& news) {
    if (head_) news.head = std::move(head_);
    news.body += data;
  });
  head_.reset();
  waiting_size_ += data.size();
  if (waiting_size_ > most_waiting) {
    bool is_taken = false;
    Py_BEGIN_ALLOW_THREADS is_taken = queue_.wait_until_taken(*this);
    Py_END_ALLOW_THREADS waiting_size_ = 0;
    if (!is_taken) return fail(ErrorCode::unavailable, "the worker ends");
  }
  if (checker_->overflowed())
    return fail(ErrorCode::application, "the body is longer than its Content-Length");
  return {};
}

void ThreadedExchange::finish(std::string_view rest) {
  std::string copy(rest);
  finish_with([&](ReplyNews& news) { news.rest = std::move(copy); });
}

void ThreadedExchange::finish_file(http::FilePart part) {
  finish_with([&](ReplyNews& news) { news.file = std::move(part); });
}

void ThreadedExchange::finish_with(const std::function<void(ReplyNews&)>& add) {
  if (stage_ != Stage::open) return;
  if (!checker_->started()) return abort();
  stage_ = Stage::finished;
  keep_what_the_log_names();
  queue_.post(*this, [&](ReplyNews& news) {
    if (head_) news.head = std::move(head_);
    add(news);
    news.end = ReplyNews::End::finished;
  });
}

void ThreadedExchange::abort() {
  if (stage_ != Stage::open) return;
  stage_ = Stage::finished;
  keep_what_the_log_names();
  queue_.post(*this, [](ReplyNews& news) { news.end = ReplyNews::End::aborted; });
}

/// The connection's exchange may go on to its next request while this call runs close().
void ThreadedExchange::keep_what_the_log_names() {
  method_ = request_.method;
  path_ = request_.path;
  request_ = {};
  request_.method = method_;
  request_.path = path_;
}

}  // namespace green::python
