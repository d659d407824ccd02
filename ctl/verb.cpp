#include "ctl/verb.h"

#include "ctl/site.h"

namespace green::ctl {

Outcome<Client*> Session::client() {
  if (!client_) {
    auto connected = Client::connect(bus);
    if (!connected) return std::unexpected(std::move(connected).error());
    client_ = *std::move(connected);
  }
  return &*client_;
}

Outcome<std::string> Session::site(const std::string& requested) {
  auto connected = client();
  if (!connected) return std::unexpected(std::move(connected).error());
  const auto running = (*connected)->running_sites();
  if (!running) return std::unexpected(running.error());
  return choose_site(requested, *running, bus);
}

std::vector<std::unique_ptr<Verb>> make_verbs() {
  std::vector<std::unique_ptr<Verb>> verbs;
#define GREEN_MAKE_VERB(name) verbs.push_back(make_##name());
  GREEN_VERBS(GREEN_MAKE_VERB)
#undef GREEN_MAKE_VERB
  return verbs;
}

}  // namespace green::ctl
