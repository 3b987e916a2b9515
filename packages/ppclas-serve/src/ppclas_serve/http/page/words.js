"use strict";

// The pages' words in Chinese, by the English ones. {0}, {1}: what is put in.
const CHINESE = {
  "Classify photos": "照片分类",
  "Classify photos with {0}": "用 {0} 给照片分类",
  "Model": "模型",
  "Asking the server …": "正在询问服务器……",
  "Photos to classify": "要分类的照片",
  "Drop photos here": "把照片拖到这里",
  ", paste them, or": "，粘贴照片，或者",
  "Choose photos": "选择照片",
  "Use the camera": "使用摄像头",
  "Take the photo": "拍照",
  "Close the camera": "关闭摄像头",
  "Answers": "结果",
  "About the model": "关于模型",
  "The model": "模型信息",
  "Ask from a program": "在程序中调用",
  "Copy": "复制",
  "Copied": "已复制",
  "Press Ctrl-C": "请按 Ctrl-C",
  "All that the API offers": "全部 API 说明",
  "This server wants a token.": "此服务器需要令牌。",
  "Token": "令牌",
  "Go on": "继续",
  "The server cannot be reached.": "无法连接服务器。",
  "The server answers with {0}.": "服务器返回状态 {0}。",
  "Name": "名称",
  "{0}, version {1}": "{0}，版本 {1}",
  "Architecture": "网络结构",
  "Classes": "类别数",
  "Task": "任务",
  "several labels per photo": "多标签（一张照片可有多个标签）",
  "one class per photo": "单标签（一张照片一个类别）",
  "Input size": "输入尺寸",
  "{0} pixels": "{0} 像素",
  "Accuracy": "准确率",
  "on {0} validation photos": "{0} 张验证图像",
  "Size": "大小",
  "Engine": "推理引擎",
  "Origin": "来源",
  "Proof": "验证",
  "Not ready": "未就绪",
  "Ready": "就绪",
  "Not ready: {0}": "未就绪：{0}",
  "No label": "没有标签",
  "{0} ms in all; on the server {1} ms to read it, {2} ms to answer":
    "共 {0} 毫秒；服务器读取 {1} 毫秒，推理 {2} 毫秒",
  "Show the evidence": "显示依据",
  "Show the photo": "显示照片",
  "Drawing …": "正在绘制……",
  "Red: where covering the photo makes “{0}” less likely.": "红色：遮住该处会使“{0}”的可能性降低。",
  "No answer": "没有结果",
  "It has {0} MB; the server takes up to {1} MB.": "文件有 {0} MB，服务器最多接受 {1} MB。",
  "{0} of {1} photos answered …": "{1} 张照片中已完成 {0} 张……",
  "{0} of {1} photo answered.": "{1} 张照片中有 {0} 张得到结果。",
  "{0} of {1} photos answered.": "{1} 张照片中有 {0} 张得到结果。",
  "No camera can be used here: there is none, or the page may not use it.":
    "无法使用摄像头：没有摄像头，或页面没有权限。",
  "The API": "API 说明",
  "Parameters": "参数",
  "Body": "请求体",
  "Answer": "响应",
  "Statuses": "状态码",
  "Photos in, names out": "传入照片，返回类别名",
  "Open Inference Protocol": "开放推理协议（Open Inference Protocol）",
  "Others": "其他",
  "in the path": "在路径中",
  "the file itself, or files in a form": "文件本身，或表单中的文件",
  "The description cannot be read: {0}": "无法读取 API 说明：{0}",
};
const chinese = document.documentElement.lang.startsWith("zh");

function t(text, ...values) {
  const said = (chinese && CHINESE[text]) || text;
  return said.replace(/\{(\d)\}/g, (_, place) => values[place]);
}

// What the page says before anything has happened.
(() => {
  if (chinese) {
    const texts = document.createTreeWalker(document.documentElement, NodeFilter.SHOW_TEXT);
    while (texts.nextNode()) {
      const words = texts.currentNode.data.trim();
      if (CHINESE[words]) texts.currentNode.data = texts.currentNode.data.replace(words, CHINESE[words]);
    }
    for (const named of document.querySelectorAll("[aria-label]")) named.ariaLabel = t(named.ariaLabel);
  }
  const other = document.getElementById("language");
  other.textContent = chinese ? "English" : "中文";
  other.lang = other.hreflang = chinese ? "en" : "zh-CN";
  other.search = chinese ? "?lang=en" : "?lang=zh";
  const asked = new URLSearchParams(location.search).get("lang");
  if (asked) for (const link of document.querySelectorAll("a.page")) link.search = "?lang=" + asked;
})();
