// Package podtoken is about the projected service-account tokens with which pods
// prove who they are. It looks at a token without trusting it ([Look]), and keeps
// the answers of whoever can check one ([Cache]), so that neither strangers nor
// thousands of pods that poll weigh on Kubernetes. It brings no Kubernetes client
// along.
package podtoken
