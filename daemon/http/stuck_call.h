// What a signal handler may know of the request whose call holds up the loop thread, so that its
// client gets an answer though the loop will not turn again. Loop thread, and a handler on it.
#pragma once

#include <string_view>

namespace green::http {

/// The answer to a request that outlived its time.
std::string_view timeout_reply(bool is_head);

/// The application is about to be called for a request of `socket`, to which nothing was sent.
void publish_call(int socket, bool is_head);
/// Before anything is sent, and once the call is over. Costs a store.
void withdraw_call();

/// Async-signal-safe, on the loop thread: answers the published call with 504 and shuts our side of
/// its socket, so that nothing the application may send later follows it. Once; false: there was
/// nothing to answer.
bool answer_published_call();

/// Whether a handler has answered a call since this was asked last. Loop thread.
bool take_answered();

}  // namespace green::http
