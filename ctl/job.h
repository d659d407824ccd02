// What the verbs that start a job share: their options, and the report of how it ended.
#pragma once

#include <functional>
#include <ostream>
#include <string>

#include "ctl/verb.h"

namespace green::ctl {

class JobOptions {
 public:
  void declare(CLI::App& command);
  Outcome<JobWait> wait() const;

 private:
  bool is_waiting_ = false;
  bool is_not_blocking_ = false;
  std::string timeout_;
};

/// Shows a job's phases on one line, "importing app:app… switched… ", for whoever watches.
class Progress {
 public:
  /// Writes nothing where nobody watches, or where JSON is asked for.
  explicit Progress(Session& session);
  std::function<void(const std::string&)> listener();
  /// Ends the line.
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

 private:
  std::ostream* stream_;
  bool is_begun_ = false;
};

/// Writes the outcome; fails with the job's message when it did not end well. `doing`: "reload".
Outcome<> report_job(Session& session, const std::string& site, std::string_view doing,
                     const JobOutcome& outcome);

}  // namespace green::ctl
