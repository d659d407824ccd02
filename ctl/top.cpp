// greenctl top: a site's workers and requests, live, on a terminal.
// Functions instead of macros, which have the names of too much.
#define NCURSES_NOMACROS
#include <fmt/format.h>
#include <ncurses.h>
#include <unistd.h>

#include <algorithm>
#include <clocale>
#include <map>

#include "common/text.h"
#include "ctl/verb.h"

namespace green::ctl {
namespace {

constexpr std::uint64_t shortest_window_usec = 900'000;

struct Rates {
  double cpu = 0;  ///< per cent of a core
  double requests = 0;
};

enum class Order { cpu, memory, requests, busy };

/// ncurses from its first screen to its last, also where a verb fails.
class Screen {
 public:
  Screen() {
    // Widths are counted in characters.
    std::setlocale(LC_ALL, "");
    ::initscr();
    ::cbreak();
    ::noecho();
    ::curs_set(0);
    ::keypad(stdscr, true);
  }
  ~Screen() { ::endwin(); }
  Screen(const Screen&) = delete;
  Screen& operator=(const Screen&) = delete;

  /// From the top; what does not fit is cut off.
  static void draw(const std::string& text, std::size_t heading) {
    ::erase();
    const int height = ::getmaxy(stdscr);
    const int width = ::getmaxx(stdscr);
    std::size_t begin = 0;
    for (int line = 0; line < height && begin < text.size(); ++line) {
      const std::size_t end = std::min(text.find('\n', begin), text.size());
      const bool is_heading = static_cast<std::size_t>(line) == heading;
      if (is_heading) ::attr_on(WA_REVERSE, nullptr);
      ::mvaddnstr(line, 0, text.data() + begin, std::min(static_cast<int>(end - begin), width * 4));
      if (is_heading) ::attr_off(WA_REVERSE, nullptr);
      begin = end + 1;
    }
    ::refresh();
  }
  /// The key that came within that time; ERR: none.
  static int key(int milliseconds) {
    ::timeout(milliseconds);
    return ::getch();
  }
};

class Top final : public Verb {
 public:
  Top() : Verb("top", "[SITE]", "Watch a site's workers and requests on the terminal") {}
  void declare(CLI::App& command) override {
    command.add_option("SITE", site_);
    command.add_option("-d,--delay", delay_, "Seconds from one look to the next, 1 if not given")
        ->type_name("SECONDS")
        ->check(CLI::Range(0.1, 3600.0));
    command.add_option("--iterations", iterations_, "End after so many looks")->type_name("N");
  }
  Outcome<> run(Session& session) override {
    if (::isatty(STDIN_FILENO) != 1 || !session.out_is_terminal)
      return fail_with(exit_usage, "top needs a terminal; elsewhere try: greenctl workers");
    const auto site = session.site(site_);
    if (!site) return std::unexpected(site.error());
    Client& client = **session.client();
    const Screen screen;
    for (long look = 0; iterations_ == 0 || look < iterations_; ++look) {
      std::size_t heading = 0;
      const auto page = take_look(client, *site, heading);
      if (!page) return std::unexpected(page.error());
      Screen::draw(*page, heading);
      if (!obey(Screen::key(static_cast<int>(delay_ * 1000)))) return {};
    }
    return {};
  }

 private:
  /// False: to end.
  bool obey(int key) {
    switch (key) {
      case 'q':
      case 'Q':
        return false;
      case 'c':
        order_ = Order::cpu;
        break;
      case 'm':
        order_ = Order::memory;
        break;
      case 'r':
        order_ = Order::requests;
        break;
      case 'b':
        order_ = Order::busy;
        break;
      default:
        break;
    }
    return true;
  }

  Outcome<std::string> take_look(Client& client, const std::string& site, std::size_t& heading) {
    const auto status = client.status(site);
    if (!status) return std::unexpected(status.error());
    auto workers = client.workers(site);
    if (!workers) return std::unexpected(workers.error());
    // Whoever may not see requests sees the rest.
    const auto requests = client.requests(site);
    const auto site_now = client.monotonic_usec(site);
    if (!site_now) return std::unexpected(site_now.error());
    measure(*status, *workers);
    std::string page = fmt::format(
        "{} {} - generation {}, {} of {} workers ready, {} busy, {} draining\n"
        "{:.0f} requests/s, {} in all; up {}\n"
        "keys: c CPU  m memory  r requests  b busy  q quit\n\n",
        site, printable(status->state), status->generation, status->ready_workers,
        status->target_workers, status->busy_workers, status->draining_workers, request_rate_,
        status->requests, format_span(span_between(status->started_usec, realtime_usec())));
    heading = 4;
    sort(*workers);
    std::vector<std::vector<std::string>> rows;
    for (const WorkerStatus& worker : *workers) {
      std::string what;
      if (requests)
        if (const auto request = std::ranges::find(*requests, worker.pid, &RequestStatus::pid);
            request != requests->end())
          what = printable(request->request, 200);
      rows.push_back({std::to_string(worker.slot), std::to_string(worker.pid),
                      printable(worker.state), fmt::format("{:.1f}", rates_[worker.pid].cpu),
                      format_size(worker.rss_bytes), format_size(worker.pss_bytes),
                      fmt::format("{:.0f}", rates_[worker.pid].requests),
                      std::to_string(worker.requests), std::to_string(worker.connections),
                      format_age(worker.busy_since_usec, *site_now), what});
    }
    return page + format_table({{"WORKER", true},
                                {"PID", true},
                                {"STATE"},
                                {"CPU%", true},
                                {"RSS", true},
                                {"PSS", true},
                                {"REQ/S", true},
                                {"REQUESTS", true},
                                {"CONN", true},
                                {"BUSY", true},
                                {"REQUEST"}},
                               rows);
  }

  /// What happened a second. Over no less than about one: a shorter look would show little but the
  /// grain of the clocks that CPU time is counted by.
  void measure(const SiteStatus& status, const std::vector<WorkerStatus>& workers) {
    const std::uint64_t now = monotonic_now_usec();
    if (last_usec_ != 0 && now < last_usec_ + shortest_window_usec) return;
    const auto rate = [seconds = static_cast<double>(now - last_usec_) / 1'000'000](
                          std::uint64_t amount, std::uint64_t before) {
      return amount < before ? 0 : static_cast<double>(amount - before) / seconds;
    };
    request_rate_ = last_usec_ == 0 ? 0 : rate(status.requests, last_requests_);
    std::map<std::uint32_t, WorkerStatus> seen;
    rates_.clear();
    for (const WorkerStatus& worker : workers) {
      if (const auto before = last_.find(worker.pid); before != last_.end())
        rates_[worker.pid] = {.cpu = rate(worker.cpu_nsec, before->second.cpu_nsec) / 1e7,
                              .requests = rate(worker.requests, before->second.requests)};
      seen[worker.pid] = worker;
    }
    last_ = std::move(seen);
    last_usec_ = now;
    last_requests_ = status.requests;
  }

  void sort(std::vector<WorkerStatus>& workers) {
    std::ranges::stable_sort(workers, std::greater<>{}, [&](const WorkerStatus& worker) -> double {
      switch (order_) {
        case Order::cpu:
          return rates_[worker.pid].cpu;
        case Order::memory:
          return static_cast<double>(worker.pss_bytes);
        case Order::requests:
          return static_cast<double>(worker.requests);
        case Order::busy:
          return worker.busy_since_usec == 0 ? -1e18 : -static_cast<double>(worker.busy_since_usec);
      }
      return 0;
    });
  }

  std::string site_;
  double delay_ = 1;
  long iterations_ = 0;
  Order order_ = Order::cpu;
  std::map<std::uint32_t, WorkerStatus> last_;
  std::uint64_t last_usec_ = 0;
  std::map<std::uint32_t, Rates> rates_;  ///< by pid
  double request_rate_ = 0;
  std::uint64_t last_requests_ = 0;
};

}  // namespace

std::unique_ptr<Verb> make_top() { return std::make_unique<Top>(); }

}  // namespace green::ctl
