#include "daemon/worker/request_report.h"

#include <algorithm>
#include <utility>

namespace green::worker {
namespace {

std::string name_of(const http::InFlight& one) {
  if (one.method.empty()) return {};
  std::string name(one.method);
  name += ' ';
  name += one.path.substr(0, longest_listed_path);
  if (one.path.size() > longest_listed_path) name += "…";
  return name;
}

}  // namespace

RequestList report_requests(const http::Server& server,
                            const python::SiteApplication& application) {
  python::CallDetails details = application.details();
  std::ranges::sort(details.waiting);
  std::vector<ListedRequest> all;
  server.for_each_in_flight([&](const http::InFlight& one) {
    const bool waits = one.state == RequestState::running &&
                       std::ranges::binary_search(details.waiting, one.exchange);
    all.push_back({.state = waits ? RequestState::waiting : one.state,
                   .since_usec = one.since_usec,
                   .request = name_of(one),
                   .client = std::string(one.client)});
  });
  for (auto& one : details.background)
    all.push_back({.state = RequestState::background,
                   .since_usec = one.since_usec,
                   .request = std::move(one.name),
                   .client = {}});
  return shortened(std::move(all));
}

}  // namespace green::worker
