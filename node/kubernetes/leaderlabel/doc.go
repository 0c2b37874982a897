// Package leaderlabel is the leader's duty to wear a label on its pod, by which a
// Service finds it.
//
// The label is for callers' convenience and nothing depends on it: whoever comes to a
// pod that does not lead any more is redirected. A leader that was paused, and labels
// itself when it wakes although another one leads, does harm for a moment only: the
// other one watches who wears the label, and takes it off.
package leaderlabel
