// A request without a network: asks an Application and keeps its answer (probes, tests). Loop
// thread.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "daemon/http/application.h"
#include "daemon/http/body.h"
#include "daemon/http/limits.h"

namespace green::http {

class InProcessExchange final : public Exchange {
 public:
  /// GET `target` ("/health?deep=1") over HTTP/1.1 with `Host: host`, from 127.0.0.1.
  InProcessExchange(std::string target, std::string host);

  const Request& request() const override { return request_; }
  Result<void> start(int status, std::string_view reason, std::span<const Header> headers) override;
  /// Checked, and left out: a probe asks for the reply.
  Result<void> send_interim(int status, std::span<const Header> headers) override;
  Result<void> write(std::string_view data) override;
  void finish(std::string_view rest) override;
  using Exchange::finish;
  void finish_file(FilePart part) override;
  void abort() override;
  /// There is no client to answer; who asked has a time limit of its own.
  void give_up() override {}
  void give_up_answered() override {}
  bool head_sent() const override { return head_sent_; }
  bool client_connected() const override { return true; }

  /// finish() or abort() was called.
  bool is_done() const { return finished_ || aborted_; }
  bool aborted() const { return aborted_; }
  /// 0: no start(), or aborted before anything was sent.
  int status() const { return status_; }
  const std::string& reason() const { return reason_; }
  /// The first 64 KiB of the reply.
  const std::string& body() const { return reply_body_; }

 private:
  Limits limits_;
  std::string target_;
  std::string host_;
  std::vector<Header> headers_;
  Endpoints endpoints_;
  Body body_;
  Request request_;
  int status_ = 0;
  std::string reason_;
  std::string reply_body_;
  bool head_sent_ = false;
  bool finished_ = false;
  bool aborted_ = false;
};

}  // namespace green::http
