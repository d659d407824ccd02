#include "daemon/http/in_process_exchange.h"

#include <unistd.h>

#include <algorithm>

#include "daemon/http/date_line.h"
#include "daemon/http/response_writer.h"

namespace green::http {
namespace {
constexpr std::size_t kept_body = 64 << 10;
}

InProcessExchange::InProcessExchange(std::string target, std::string host)
    : target_(std::move(target)),
      host_(std::move(host)),
      headers_{{"Host", host_}, {"User-Agent", "green"}, {"Accept", "*/*"}},
      endpoints_{.remote_address = "127.0.0.1",
                 .remote_port = "0",
                 .local_address = "127.0.0.1",
                 .local_port = "80"},
      body_(limits_) {
  const std::string_view target_view = target_;
  const auto mark = target_view.find('?');
  request_.method = "GET";
  request_.target = target_view;
  request_.path = target_view.substr(0, mark);
  if (mark != std::string_view::npos) request_.query = target_view.substr(mark + 1);
  request_.headers = headers_;
  request_.endpoints = &endpoints_;
  request_.body = &body_;
}

Result<void> InProcessExchange::start(int status, std::string_view reason,
                                      std::span<const Header> headers) {
  if (head_sent_ || is_done()) return fail(ErrorCode::application, "the reply was sent already");
  // The same rules as on the network, so that a probe finds what a client would.
  DateLine date;
  ResponseWriter writer(date);
  writer.begin(false, 1, true);
  status_ = 0;
  if (auto started = writer.start(status, reason, headers); !started) return started;
  status_ = status;
  reason_ = reason;
  return {};
}

Result<void> InProcessExchange::send_interim(int status, std::span<const Header> headers) {
  if (head_sent_ || is_done()) return fail(ErrorCode::application, "the reply was sent already");
  const auto interim = make_interim(status, headers);
  if (!interim) return fail(interim.error());
  return {};
}

Result<void> InProcessExchange::write(std::string_view data) {
  if (is_done()) return fail(ErrorCode::application, "the reply is finished");
  if (status_ == 0) return fail(ErrorCode::application, "no reply was started");
  head_sent_ = true;
  reply_body_.append(data.substr(0, kept_body - reply_body_.size()));
  return {};
}

void InProcessExchange::finish(std::string_view rest) {
  if (is_done()) return;
  if (!write(rest)) return abort();
  finished_ = true;
}

void InProcessExchange::finish_file(FilePart part) {
  std::string text(static_cast<std::size_t>(std::min<std::uint64_t>(part.length, kept_body)), '\0');
  const auto count =
      pread(part.file.get(), text.data(), text.size(), static_cast<off_t>(part.offset));
  if (count < 0) return abort();
  finish(std::string_view(text).substr(0, static_cast<std::size_t>(count)));
}

void InProcessExchange::abort() {
  if (is_done()) return;
  aborted_ = true;
  if (!head_sent_) status_ = 0;
}

}  // namespace green::http
