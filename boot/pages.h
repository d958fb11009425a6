// SPDX-License-Identifier: MIT
// The end of a run for somebody who has a screen and a camera.
#pragma once

// Shows the log's results and then its pages in turn, for ever: by themselves until a key is
// pressed, by keys from then on. Returns at once if all of the log is on the screen already, if
// there is none, or while there is no clock yet. Nobody logs any more. Needs host_clock and the
// timer.
void pages_show(void);
