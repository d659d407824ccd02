#include "ctl/verb.h"

#include <unistd.h>

#include "ctl/site.h"

namespace green::ctl {

Outcome<Client*> Session::client() {
  if (!client_) {
    auto connected = Client::connect(bus, host);
    if (!connected) return std::unexpected(std::move(connected).error());
    client_ = *std::move(connected);
  }
  return &*client_;
}

void Session::expect_questions() {
  if (may_ask_password && bus == "system" && host.empty() && ::geteuid() != 0) agent_.start();
}

Outcome<std::string> Session::site(const std::string& requested) {
  auto connected = client();
  if (!connected) return std::unexpected(std::move(connected).error());
  const auto running = (*connected)->running_sites();
  if (!running) return std::unexpected(running.error());
  auto chosen = choose_site(requested, *running, bus);
  if (!chosen) return chosen;
  if (const auto verified = (*connected)->verify_owner(*chosen); !verified)
    return std::unexpected(verified.error());
  return chosen;
}

std::vector<std::unique_ptr<Verb>> make_verbs() {
  std::vector<std::unique_ptr<Verb>> verbs;
#define GREEN_MAKE_VERB(name) verbs.push_back(make_##name());
  GREEN_VERBS(GREEN_MAKE_VERB)
#undef GREEN_MAKE_VERB
  return verbs;
}

}  // namespace green::ctl
